"""`clip`: cut shots into mp4 files of one rate and size, without bars and never enlarged."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipelines.records import ClipRecord, Media, Probe, content_id
from sora_jax import files, media
from sora_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What clips are brought to.

    `fps` and `short_side` (pixels) are upper bounds: a source that has less keeps what it has.
    Sides are multiples of `multiple`. A shot longer than `max_seconds` becomes several clips of
    equal length; one shorter than `min_seconds` is rejected. `crf` is the quality of the mp4.
    """

    fps: float = 24.0
    short_side: int = 256
    multiple: int = 2
    min_seconds: float = 1.0
    max_seconds: float = 8.0
    crf: int = 14

    def __post_init__(self) -> None:
        if self.multiple < 2 or self.multiple % 2:
            raise ValueError(f"multiple {self.multiple} must be even; mp4 needs even sides")
        if not 0 < self.min_seconds <= self.max_seconds / 2:
            raise ValueError(
                f"min_seconds {self.min_seconds:g} must be over 0 and at most half of"
                f" max_seconds {self.max_seconds:g}, so that every piece of a shot is long enough"
            )


@dataclasses.dataclass(frozen=True)
class Clip:
    """The stage: one record of a shot in, one for each clip out, its mp4 under `directory`."""

    config: ClipConfig
    directory: str = dataclasses.field(repr=False)
    name: str = "clip"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        assert record.span is not None and record.probe is not None
        start, end = record.span
        is_still = record.probe.num_frames == 1
        if not is_still and end - start < self.config.min_seconds - 1e-6:
            sentence = (
                f"the shot lasts {end - start:.2f} s, under clip.min_seconds"
                f" {self.config.min_seconds:g}"
            )
            return [record.reject("too_short", sentence)]
        pieces = 1 if is_still else math.ceil((end - start) / self.config.max_seconds - 1e-6)
        edges = [start + (end - start) * i / pieces for i in range(pieces + 1)]
        clips = []
        for i, span in enumerate(itertools.pairwise(edges)):
            begin, finish = record.cuts or ("file", "file")
            kinds = begin if i == 0 else "length", finish if i == pieces - 1 else "length"
            clips.append(self._cut(record.replace(span=span, cuts=kinds)))
        return clips

    def _cut(self, record: ClipRecord) -> ClipRecord:
        assert record.span is not None and record.probe is not None
        settings = dataclasses.asdict(self.config)
        name = content_id(record.source_sha256, record.span, settings)
        rate = written_rate(record.probe, self.config.fps)
        frames, crop = cut_frames(record, rate, self.config)
        content = media.encode_mp4(frames, float(rate), crf=self.config.crf)
        path = Path("clips", name[:2], f"{name}.mp4")
        target = Path(self.directory) / path
        with files.disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(target, content)
        cut = Media(
            path=path.as_posix(),
            sha256=hashlib.sha256(content).hexdigest(),
            num_frames=len(frames),
            height=frames.shape[1],
            width=frames.shape[2],
            fps=float(rate),
            crop=crop,
        )
        return record.replace(id=name, media=cut)


def written_rate(probe: Probe, fps: float) -> Fraction:
    """The rate of a clip: `fps`, or the source's where that is lower. Stills are given `fps`."""
    return Fraction(min(fps, probe.fps or fps)).limit_denominator(1001)


type Box = tuple[int, int, int, int]  # top, left, height, width


def cut_frames(
    record: ClipRecord, rate: Fraction, config: ClipConfig
) -> tuple[NDArray[np.uint8], Box]:
    """The frames of a record's span, T H W 3, at `rate` and the size wanted, and what was kept."""
    assert record.span is not None and record.probe is not None
    start, end = record.span
    is_still = record.probe.num_frames == 1
    source: Iterator[tuple[float, NDArray[np.uint8]]] = media.timed_frames(
        record.path, span=None if is_still else record.span
    )
    count = 1 if is_still else max(1, round((end - start) * float(rate)))
    box: Box | None = None
    frames = []
    for _, frame in itertools.islice(media.at_rate(source, float(rate)), count):
        if box is None:
            box = _box(record.extra.get("crop"), frame.shape[0], frame.shape[1])
        top, left, height, width = box
        # Pixels of the stored picture need not be square; the size that was probed has square ones.
        stretch = (record.probe.width / record.probe.height) / (frame.shape[1] / frame.shape[0])
        size = fit_size(height, width * stretch, config)
        picture = np.ascontiguousarray(frame[top : top + height, left : left + width])
        resized = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
        frames.append(np.asarray(resized, np.uint8))
    if box is None:
        raise UsageError(f"{record.source} has no frame from {start:.2f} s on; copy it again")
    return np.stack(frames), box


def fit_size(height: float, width: float, config: ClipConfig) -> tuple[int, int]:
    """Height and width of a clip of a picture of square pixels: the aspect kept, never enlarged."""
    scale = min(1.0, config.short_side / min(height, width))
    step = config.multiple

    def even(side: float) -> int:
        rounded = step * round(side * scale / step)
        return max(step, rounded if rounded <= side else step * int(side // step))

    return even(height), even(width)


def _box(shares: list[float] | None, height: int, width: int) -> Box:
    """Top, left, height, width in pixels of what `shots` found to lie between the bars."""
    if not shares:
        return 0, 0, height, width
    top, left = math.ceil(shares[0] * height), math.ceil(shares[1] * width)
    return top, left, int(shares[2] * height), int(shares[3] * width)
