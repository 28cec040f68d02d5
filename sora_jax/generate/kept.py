"""What was given comes out as it went in, frames and pixels alike, and joins what is generated.

The autoencoder loses detail of all that goes through it. Given frames stand in the result in place
of their reconstruction; what that has lost of them at a border is added to what lies beyond it,
where that shows the same, less and less, so that no step in detail is seen.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate.engine import Video

REACH = 4  # pixels over which detail at the edge of kept pixels fades out
GRAIN = 6.0  # of 255: what the autoencoder's grain may change at places where it loses nothing
ALIKE = (30.0, 90.0)  # of 255: pixels this near show the same thing, those this far another
_AROUND, _NEAR = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)


def keep_frames(made: Video, given: Sequence[tuple[int, Video]]) -> Video:
    """`made` (B T H W 3) with `given` (place of the first frame, B t H W 3) in place of its own.

    Detail fades out over a chunk to both sides, and ends where another thing is seen.
    """
    count = made.shape[1]
    taken = {start + i for start, frames in given for i in range(frames.shape[1])}
    detail: dict[int, NDArray[np.float32]] = {}
    for start, frames in given:
        for edge, step in ((0, -1), (frames.shape[1] - 1, 1)):
            lost = frames[:, edge].astype(np.float32) - made[:, start + edge]
            for away in range(1, CHUNK_FRAMES + 1):
                place = start + edge + step * away
                if place in taken or not 0 <= place < count:
                    break
                weight = 1 - away / (CHUNK_FRAMES + 1)
                here = weight * _alike(made[:, place], made[:, start + edge]) * lost
                detail[place] = detail.get(place, np.float32(0)) + here
    out = made.copy()
    for place, lost in detail.items():
        out[:, place] = np.clip(np.round(made[:, place] + lost), 0, 255)
    for start, frames in given:
        out[:, start : start + frames.shape[1]] = frames
    return out


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where pictures (B H W 3) show the same: 1 up to the first of ALIKE, 0 from the second on."""
    apart = np.abs(a.astype(np.float32) - b).max(-1, keepdims=True)
    low, high = ALIKE
    return np.clip((high - apart) / (high - low), 0, 1)


def hold_still(made: Video, around: Video, given: Video) -> Video:
    """Frames that fill a gap (B T H W 3), with the grain taken from what stands still in them.

    `given` (B 2 H W 3) are the frames before and after the gap and `around` what the autoencoder
    makes of them. A pixel stands still if it is the same in both and in all frames between, within
    what the autoencoder loses near it, and nothing moves within two pixels. Outlines flicker by
    more than that: what is nowhere 3 pixels thick does not count as moving.
    """
    before, after = (given[:, i, None].astype(np.float32) for i in (0, 1))
    count = made.shape[1]
    share = (np.arange(1, count + 1, dtype=np.float32) / (count + 1))[:, None, None, None]
    frozen = (1 - share) * before + share * after
    lost = np.abs(given.astype(np.float32) - around).max((1, 4))
    grain = GRAIN + np.stack([cv2.dilate(each, _AROUND) for each in lost])
    moves = np.abs(made - frozen).max((1, 4)) > grain
    differs = np.abs(before - after).max((1, 4)) > grain
    is_still = np.stack(
        [cv2.dilate(_solid(a) | b, _NEAR) == 0 for a, b in zip(moves, differs, strict=True)]
    )
    return np.where(is_still[:, None, :, :, None], np.round(frozen), made).astype(np.uint8)


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The connected parts of a mask (H W) that somewhere are as thick as 3 pixels."""
    _, part = cv2.connectedComponents(mask.astype(np.uint8))
    thick = cv2.erode(mask.astype(np.uint8), _AROUND) > 0
    return (mask & np.isin(part, part[thick])).astype(np.uint8)


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
