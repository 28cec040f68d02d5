"""Pictures of any size and clips of any length, made to fit, saying what was done."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES


def fit_size(
    frames: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], str | None]:
    """Cut the middle of each frame (T H W 3) to the shape of `size` (height, width), and scale it.

    Gives the frames and a note of what was done, or None where nothing was. Shrinking averages
    areas, so that a clip that was enlarged by repeating pixels comes back as it was.
    """
    height, width = size
    old_height, old_width = frames.shape[1:3]
    if (old_height, old_width) == size:
        return frames, None
    scale = min(old_height / height, old_width / width)
    cut_height, cut_width = scale * height, scale * width
    top, left = (old_height - cut_height) / 2, (old_width - cut_width) / 2
    box = (left, top, left + cut_width, top + cut_height)
    method = Image.Resampling.BOX if scale > 1 else Image.Resampling.BICUBIC
    scaled = [
        np.asarray(Image.fromarray(frame).resize((width, height), method, box=box))
        for frame in frames
    ]
    is_cut = max(top, left) >= 0.5
    note = f"{old_width}x{old_height} was {'cut in the middle and ' if is_cut else ''}scaled to "
    return np.stack(scaled), f"{note}{width}x{height}, the model's size"


def fit_chunks(
    frames: NDArray[np.uint8], *, keep_end: bool
) -> tuple[NDArray[np.uint8], str | None]:
    """Drop the few frames (T H W 3) that make no whole chunk, at the end that is not kept."""
    extra = len(frames) % CHUNK_FRAMES
    if len(frames) < CHUNK_FRAMES:
        raise UsageError(f"the video has {len(frames)} frames; it needs at least {CHUNK_FRAMES}")
    if not extra:
        return frames, None
    frames = frames[extra:] if keep_end else frames[:-extra]
    place = "first" if keep_end else "last"
    return frames, f"the {place} {extra} frames were dropped: clips are whole chunks of 4 frames"


def hold(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture H W 3 as one chunk, in which it stands still: T H W 3."""
    return np.repeat(image[None], CHUNK_FRAMES, axis=0)
