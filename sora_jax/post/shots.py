"""Figures of each frame, smoothed over the frames around it: within a shot, as frames come.

What a step of this package changes from frame to frame follows such figures, so it never jumps
inside a shot and never reaches over a cut, and a clip of any length takes constant memory.
"""

import collections
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

type Frame = NDArray[np.uint8]  # H W 3
type Vector = NDArray[np.float64]
type Measure = Callable[[Frame | None, Frame], Vector]  # of the frame before, in its shot; this one

_CUT = 20.0  # of 255: mean difference of small pictures, above which a new shot begins
_THUMB = (32, 32)
_MAX_GAIN = 1.5  # a change of brightness by less is no cut


def smoothed(
    frames: Iterable[Frame], measure: Measure, *, spread: float, is_path: bool = False
) -> Iterator[tuple[Frame, Vector, Vector]]:
    """Each frame with its own figures and with the smooth ones: a local line through all near it.

    `spread` is the standard deviation of the weights in frames; three of them are looked ahead.
    With `is_path` the figures are steps from the frame before, and paths come out.
    """
    shot, before = _Shot(spread, is_path), None
    for frame in frames:
        if before is not None and is_cut(before, frame):
            yield from shot.rest()
            shot, before = _Shot(spread, is_path), None
        shot.add(frame, measure(before, frame))
        if shot.is_ahead:
            yield shot.take()
        before = frame
    yield from shot.rest()


def is_cut(before: Frame, after: Frame) -> bool:
    """Whether another shot begins between two frames; brighter or darker is none."""
    a, b = (
        cv2.resize(frame, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float64)
        for frame in (before, after)
    )
    gain = np.clip((a * b).sum() / max((b * b).sum(), 1.0), 1 / _MAX_GAIN, _MAX_GAIN)
    return bool(np.abs(a - gain * b).mean() > _CUT)


class _Shot:
    """Frames that wait for what comes after them, and the figures of all near them."""

    def __init__(self, spread: float, is_path: bool):
        self._spread, self._is_path = spread, is_path
        self._radius = int(np.ceil(3 * spread))
        self._waiting: collections.deque[Frame] = collections.deque()
        self._figures: collections.deque[Vector] = collections.deque()  # from `radius` back on
        self._place = 0  # of the first that waits, in `_figures`

    @property
    def is_ahead(self) -> bool:
        return len(self._waiting) > self._radius

    def add(self, frame: Frame, figures: Vector) -> None:
        if self._is_path and self._figures:
            figures = self._figures[-1] + figures
        self._waiting.append(frame)
        self._figures.append(figures)

    def take(self) -> tuple[Frame, Vector, Vector]:
        own = self._figures[self._place]
        x = np.arange(len(self._figures)) - float(self._place)
        near = np.abs(x) <= self._radius
        x, values = x[near], np.stack(self._figures)[near]
        weight = np.exp(-0.5 * (x / self._spread) ** 2)
        s0, s1, s2 = weight.sum(), (weight * x).sum(), (weight * x * x).sum()
        # The value at 0 of the weighted least-squares line: a steady change is no bump at the ends.
        line = weight * (s2 - x * s1) / (s0 * s2 - s1**2) if len(x) > 1 else weight
        if self._place == self._radius:
            self._figures.popleft()
        else:
            self._place += 1
        return self._waiting.popleft(), own, line @ values

    def rest(self) -> Iterator[tuple[Frame, Vector, Vector]]:
        while self._waiting:
            yield self.take()
