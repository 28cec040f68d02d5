"""`shots`: cut a source where the scene changes, at hard cuts and through fades.

Hard cuts are found by PySceneDetect's adaptive detector, which compares the change between two
frames with that of its neighbours, so a fast pan is no cut. Fades and dissolves, which it can't
see, have a sign of their own: the middle picture is the mean of the pictures around it, though
those differ all over. Nothing that moves looks like that.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipelines.records import ClipRecord, content_id
from sora_jax import media

SIDE = 256  # pixels of the pictures that are compared
TINY = (32, 18)  # width and height of those on which fades are found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShotsConfig:
    """When a change is a cut.

    `adaptive_threshold`: how many times more two frames must differ than their neighbours do.
    `min_content`: by how much at least, in grey levels of hue, saturation and lightness.
    `min_gap`: seconds between two cuts. `fade_window`: seconds to either side in which a fade is
    seen; `fade_residual`: how far the middle may be from the mean, as a share of the change.
    """

    adaptive_threshold: float = 3.0
    min_content: float = 15.0
    min_gap: float = 0.3
    fade_window: float = 0.4
    fade_residual: float = 0.2
    fade_change: float = 8.0
    max_bar: float = 0.4


@dataclasses.dataclass(frozen=True)
class Shots:
    """The stage: one record of a file in, one for each shot out, with span and kind of its ends.

    `extra` gets `frames` (first and end, numbers in the source) and `crop` (top, left, height,
    width as shares of the picture: what is left without black bars).
    """

    config: ShotsConfig
    name: str = "shots"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        assert record.probe is not None
        if record.probe.num_frames == 1:
            return [_shot(record, (0.0, 0.0), ("file", "file"), {"frames": [0, 1]})]
        scan = _scan(record, self.config)
        fps = record.probe.fps
        fades = find_fades(scan.tiny, fps, self.config)
        # Near black, colours turn wildly: what looks like a cut there belongs to the fade.
        near = round(self.config.fade_window * fps)
        cuts = [cut for cut in scan.cuts if not any(a - near < cut < b + near for a, b in fades)]
        shots = []
        for first, end, kinds in split(len(scan.times), cuts, fades):
            box = _without_bars(scan.rows[first:end], scan.columns[first:end], self.config.max_bar)
            last = end == len(scan.times)
            until = scan.times[-1] + 1 / fps if last else scan.times[end]
            assert until > scan.times[first], (record.source, first, end)
            facts = {"frames": [first, end], "crop": box}
            shots.append(_shot(record, (scan.times[first], until), kinds, facts))
        return shots or [record.reject("no_shot", "it is one long fade; no shot is left")]


type Fade = tuple[int, int]  # first frame and end


def find_fades(tiny: NDArray[np.uint8], fps: float, config: ShotsConfig) -> list[Fade]:
    """Runs of frames in which one picture turns into another, or into or out of black.

    `tiny` is T h w, grey. A run that reaches into the window at an end of the file goes to it.
    """
    frames = tiny.astype(np.float32)
    length = max(2, round(config.fade_window * fps))
    if len(frames) <= 2 * length:
        return []
    before, middle, after = frames[: -2 * length], frames[length:-length], frames[2 * length :]
    change = np.abs(after - before)
    amount = change.mean((1, 2))
    residual = np.abs(middle - (before + after) / 2).mean((1, 2)) / np.maximum(amount, 1e-6)
    is_everywhere = (change > config.fade_change).mean((1, 2)) > 0.5
    is_fade = (amount > config.fade_change) & is_everywhere & (residual < config.fade_residual)
    fades: list[Fade] = []
    for index in np.flatnonzero(is_fade) + length:
        if fades and index - fades[-1][1] < length:
            fades[-1] = fades[-1][0], int(index) + 1
        else:
            fades.append((int(index), int(index) + 1))
    fades = [(a, b) for a, b in fades if b - a >= length // 2]
    margin, ends = length // 2, 2 * length  # at its ends a fade changes too little to be seen
    return [
        (
            0 if first <= ends else first - margin,
            len(frames) if end >= len(frames) - ends else end + margin,
        )
        for first, end in fades
    ]


def split(
    num_frames: int, cuts: Sequence[int], fades: Sequence[Fade]
) -> list[tuple[int, int, tuple[str, str]]]:
    """Shots as (first frame, end, kinds of both ends); the frames of fades belong to none."""
    edges = [(cut, cut, "hard") for cut in cuts if 0 < cut < num_frames]
    edges += [(first, end, "fade") for first, end in fades]
    shots, start, kind = [], 0, "file"
    for first, end, next_kind in [*sorted(edges), (num_frames, num_frames, "file")]:
        if first > start:
            shots.append((start, first, (kind, next_kind)))
        start, kind = end, next_kind
    return shots


@dataclasses.dataclass(frozen=True)
class _Scan:
    times: list[float]
    cuts: list[int]
    tiny: NDArray[np.uint8]  # T h w
    rows: NDArray[np.uint8]  # T H: the lightest of each row
    columns: NDArray[np.uint8]  # T W


def _scan(record: ClipRecord, config: ShotsConfig) -> _Scan:
    """One pass over all frames of the file."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    assert record.probe is not None
    fps = record.probe.fps
    detector = AdaptiveDetector(
        adaptive_threshold=config.adaptive_threshold,
        min_content_val=config.min_content,
        min_scene_len=max(1, round(config.min_gap * fps)),
    )
    times: list[float] = []
    cuts: list[int] = []
    tiny, rows, columns = [], [], []
    for time, frame in media.timed_frames(Path(record.path), max_side=SIDE):
        code = FrameTimecode(len(times), fps)
        found = detector.process_frame(code, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        cuts += [cut.frame_num for cut in found]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        tiny.append(cv2.resize(grey, TINY, interpolation=cv2.INTER_AREA))
        rows.append(grey.max(1))
        columns.append(grey.max(0))
        times.append(time)
    return _Scan(times, cuts, np.stack(tiny), np.stack(rows), np.stack(columns))


def _without_bars(
    rows: NDArray[np.uint8], columns: NDArray[np.uint8], max_bar: float
) -> tuple[float, float, float, float]:
    """What is left of a shot's picture without black bars: top, left, height, width as shares.

    Bars are black in every frame, on both sides, and about equally wide: a dark scene is not cut.
    """
    top, bottom = _bars(rows.max(0), max_bar)
    left, right = _bars(columns.max(0), max_bar)
    return top, left, 1 - top - bottom, 1 - left - right


def _bars(lightest: NDArray[np.uint8], max_bar: float, black: int = 24) -> tuple[float, float]:
    size = len(lightest)
    bright = np.flatnonzero(lightest > black)
    if not len(bright):
        return 0.0, 0.0
    first, last = int(bright[0]), size - 1 - int(bright[-1])
    if min(first, last) < 2 or abs(first - last) > 2 + size // 50 or first > max_bar * size:
        return 0.0, 0.0
    # One more than is black: the edge lies somewhere within that pixel of the small picture.
    return (first + 1) / size, (last + 1) / size


def _shot(
    record: ClipRecord, span: tuple[float, float], cuts: tuple[str, str], facts: dict
) -> ClipRecord:
    name = content_id(record.id, span)
    return record.replace(id=name, span=span, cuts=cuts, extra=record.extra | facts)
