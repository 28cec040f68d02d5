"""What was given comes out as it went in, frames and pixels alike, and joins what is generated.

The autoencoder loses detail of all that goes through it. Given frames stand in the result in place
of their reconstruction; what that has lost of them at a border is added to what lies beyond it,
less and less, so that no step in detail is seen.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate.engine import Video

REACH = 4  # pixels over which detail at the edge of kept pixels fades out


def keep_frames(made: Video, given: Sequence[tuple[int, Video]], *, is_loop: bool = False) -> Video:
    """`made` (B T H W 3) with `given` (place of the first frame, B t H W 3) in place of its own.

    Detail fades out over a chunk to both sides. In a loop the last frame is next to the first.
    """
    count = made.shape[1]
    taken = {start + i for start, frames in given for i in range(frames.shape[1])}
    detail: dict[int, NDArray[np.float32]] = {}
    for start, frames in given:
        for edge, step in ((0, -1), (frames.shape[1] - 1, 1)):
            lost = frames[:, edge].astype(np.float32) - made[:, start + edge]
            for away in range(1, CHUNK_FRAMES + 1):
                place = start + edge + step * away
                place = place % count if is_loop else place
                if place in taken or not 0 <= place < count:
                    break
                weight = 1 - away / (CHUNK_FRAMES + 1)
                detail[place] = detail.get(place, np.float32(0)) + weight * lost
    out = made.copy()
    for place, lost in detail.items():
        out[:, place] = np.clip(np.round(made[:, place] + lost), 0, 255)
    for start, frames in given:
        out[:, start : start + frames.shape[1]] = frames
    return out


def keep_pixels(made: Video, given: Video, keep: NDArray[np.bool_]) -> Video:
    """`made` with the pixels of `given` (both B T H W 3) where `keep` (H W, or T H W) is True.

    Detail fades out over REACH pixels beyond the edge.
    """
    out = made.copy()
    for t, mask in enumerate(np.broadcast_to(keep, made.shape[1:4])):
        if not mask.any():
            continue
        inside = mask.astype(np.float32)
        away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 0)
        weight = np.clip(1 - away / (REACH + 1), 0, 1)[..., None]
        share = np.maximum(cv2.GaussianBlur(inside, (0, 0), REACH / 2), 1e-6)[..., None]
        for new, kept, target in zip(made[:, t], given[:, t], out[:, t], strict=True):
            lost = (kept.astype(np.float32) - new) * inside[..., None]
            near = cv2.GaussianBlur(lost, (0, 0), REACH / 2) / share
            target[:] = np.clip(np.round(new + weight * near), 0, 255)
            target[mask] = kept[mask]
    return out
