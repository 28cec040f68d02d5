"""Where the tokens of a clip are: the part of a canvas that follows from its size and rate alone.

Training and generation both build their canvases from these arrays, so a clip has one geometry.
Only numpy: loader threads call it, and so does anything that has no accelerator.
"""

import dataclasses
import functools
import math

import numpy as np

CHUNK_FRAMES = 4  # pixel frames of a latent frame
META_UNITS = (24.0, 10.0)  # fps and seconds are given to the network as multiples of these
NUM_META = 5  # length of canvas.META; the last three (motion, aesthetic, loop) are 0 when not known


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipGeometry:
    """Arrays of one clip with L = n * h * w tokens, listed chunk by chunk, then row by row."""

    index: np.ndarray
    """int32 (L, 3): chunk, row and column of each token."""
    position: np.ndarray
    """float32 (L, 3): seconds, y, x. y and x from the centre, in units of sqrt(height * width)."""
    frame: np.ndarray
    """int32 (L,): latent frame (chunk) of each token."""
    frame_seconds: np.ndarray
    """float32 (n,): time of the middle of each chunk."""
    frame_place: np.ndarray
    """float32 (n,): place of each chunk in the clip, from 0 to 1."""
    meta: np.ndarray
    """float32 (n, NUM_META): fps and seconds in `META_UNITS`, then zeros; equal for all chunks."""


@functools.lru_cache(maxsize=256)
def clip_geometry(grid: tuple[int, int, int], fps: float, size: tuple[int, int]) -> ClipGeometry:
    """Geometry of `size` (height, width) pixels on a latent `grid` (chunks, rows, columns).

    The sides of a latent follow from both: height / rows and width / columns pixels. Kept, since
    most clips share a geometry: the arrays must not be written to.
    """
    num_chunks, rows, columns = grid
    height, width = size
    if min(*grid, *size) < 1 or fps <= 0:
        raise ValueError(
            f"grid {grid}, size {size} and fps {fps} must all be positive; pass a clip of at least "
            f"{CHUNK_FRAMES} frames"
        )
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1)
    index = index.reshape(-1, 3).astype(np.int32)
    side = math.sqrt(height * width)
    pitch = np.array([CHUNK_FRAMES / fps, height / rows / side, width / columns / side])
    centre = np.array([0.0, rows / 2, columns / 2])
    frame_seconds = ((np.arange(num_chunks) + 0.5) * pitch[0]).astype(np.float32)
    seconds = num_chunks * CHUNK_FRAMES / fps
    meta = np.zeros((num_chunks, NUM_META), np.float32)
    meta[:, 0], meta[:, 1] = fps / META_UNITS[0], seconds / META_UNITS[1]
    return ClipGeometry(
        index=index,
        position=((index + 0.5 - centre) * pitch).astype(np.float32),
        frame=index[:, 0],
        frame_seconds=frame_seconds,
        frame_place=np.linspace(0, 1, num_chunks, dtype=np.float32),
        meta=meta,
    )


def hold_first(video: np.ndarray) -> np.ndarray:
    """A clip T H W 3 begun by its first frame, which fills the first chunk; as many frames.

    This is what an image to animate is: it stands still for a chunk, and goes on from there.
    """
    held = np.repeat(video[:1], CHUNK_FRAMES - 1, axis=0)
    return np.concatenate([held, video])[: len(video)]
