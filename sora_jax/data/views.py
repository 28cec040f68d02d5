"""What a clip is brought to when its pixels are trained on: rate, length and size.

The shape of a view follows from the clip's shape alone, so that rows and batches can be planned
without opening a clip. Where in the clip it is cut is drawn when the clip is read.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax import media
from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Limits that a clip is brought under. Nothing is ever scaled up or slowed down."""

    fps: float = 0.0  # 0: the clip's own; a clip with a lower rate has no such view
    max_frames: int = 64
    max_area: int = 256 * 256  # pixels of a frame

    def __post_init__(self):
        if self.fps < 0 or self.max_frames < CHUNK_FRAMES or self.max_area < 1:
            raise ValueError(
                f"a view of {self.fps} fps, {self.max_frames} frames and {self.max_area} pixels "
                f"shows nothing; use fps from 0, frames from {CHUNK_FRAMES} and pixels from 1"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Shapes:
    """Shapes of N clips."""

    num_frames: NDArray[np.integer]
    height: NDArray[np.integer]
    width: NDArray[np.integer]
    fps: NDArray[np.floating]

    def at(self, clip: int) -> tuple[int, int, int, float]:
        """Frames, height, width and rate of one clip."""
        size = int(self.num_frames[clip]), int(self.height[clip]), int(self.width[clip])
        return *size, float(self.fps[clip])

    def grids(self, cell: tuple[int, int, int]) -> NDArray[np.integer]:
        """N 3: token grids, of tokens that are `cell` pixel frames, rows and columns."""
        sizes = np.stack([self.num_frames, self.height, self.width], axis=1)
        return sizes // np.array(cell, sizes.dtype)


def stored(clips: Shapes, cell: tuple[int, int, int]) -> Shapes:
    """Clips as they are stored; 0 frames for those that do not divide into tokens of `cell` pixels.

    A single frame fills a chunk.
    """
    frames = np.where(clips.num_frames == 1, CHUNK_FRAMES, clips.num_frames)
    sides = zip((frames, clips.height, clips.width), cell, strict=True)
    divides = np.logical_and.reduce([side % unit == 0 for side, unit in sides])
    return dataclasses.replace(clips, num_frames=np.where(divides, frames, 0))


def in_turn(views: Sequence[View], clips: Shapes, multiple: int) -> list[Shapes]:
    """The shapes of all clips in each of as many phases as there are views.

    Clips take their views in turn, each from its own beginning, so that every phase has all of
    them; where a clip has no such view, the next that it has takes its place. A clip without any
    has 0 frames. The aspect ratio is kept: sides shrink alike and are cut to `multiple` pixels.
    """
    made = [_shapes(view, clips, multiple) for view in views]
    count = len(views)
    usable = np.stack([shapes.num_frames > 0 for shapes in made])
    first = _scattered(len(clips.fps)) % count
    phases = []
    for phase in range(count):
        turns = (first + phase + np.arange(count)[:, None]) % count  # views in order of preference
        has = np.take_along_axis(usable, turns, axis=0)
        chosen = np.take_along_axis(turns, has.argmax(axis=0)[None], axis=0)[0]
        phases.append(
            Shapes(
                *(
                    np.choose(chosen, [getattr(shapes, field.name) for shapes in made])
                    for field in dataclasses.fields(Shapes)
                )
            )
        )
    return phases


def cut(
    record: VideoRecord, shape: tuple[int, int, int, float], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], float]:
    """A view of a clip, T H W 3, from a random moment and place; and the second it begins at.

    Raises UsageError for a record that has no pixels or whose clip is not what it states.
    """
    if record.video is None:
        raise UsageError(f"record {record.id!r} holds latents only; take shards with videos")
    frames, height, width, fps = shape
    start = 0
    picks = np.zeros(frames, int)
    if record.num_frames > 1:
        steps = np.floor(np.arange(frames) * (record.fps / fps) + 0.5).astype(int)
        start = int(rng.integers(0, record.num_frames - steps[-1]))
        picks = start + steps
    scale = max(height / record.height, width / record.width)
    size = _round_up(record.height * scale, height), _round_up(record.width * scale, width)
    top, left = (
        int(rng.integers(0, s - w + 1)) for s, w in zip(size, (height, width), strict=True)
    )
    video = media.pick_frames(record.video, picks.tolist(), size)
    return video[:, top : top + height, left : left + width], start / record.fps


def _round_up(value: float, least: int) -> int:
    """The next whole number, but for rounding errors, and not under `least`."""
    return max(math.ceil(value - 1e-6), least)


def _shapes(view: View, clips: Shapes, multiple: int) -> Shapes:
    rate = np.full(len(clips.fps), view.fps) if view.fps else clips.fps
    is_still = clips.num_frames == 1
    frames = np.floor((clips.num_frames - 1) * (rate / clips.fps) + 1e-6).astype(np.int64) + 1
    frames = np.where(is_still, 1, np.minimum(frames, view.max_frames))
    frames = np.where((rate > clips.fps * (1 + 1e-6)) & ~is_still, 0, frames)
    area = clips.height.astype(np.float64) * clips.width
    scale = np.minimum(1.0, np.sqrt(view.max_area / area))
    height, width = (
        np.floor(side * scale / multiple + 1e-6).astype(np.int32) * multiple
        for side in (clips.height, clips.width)
    )
    whole = np.where(is_still, CHUNK_FRAMES, frames // CHUNK_FRAMES * CHUNK_FRAMES)
    whole = np.where(np.minimum(height, width) > 0, whole, 0)
    return Shapes(whole.astype(np.int32), height, width, rate)


def _scattered(count: int) -> NDArray[np.integer]:
    """A number for each clip that follows no pattern of its order."""
    mixed = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)).astype(np.int64)
