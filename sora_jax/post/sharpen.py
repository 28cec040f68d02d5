"""Sharpening without halos: blur is undone as far as it is found, within what is around a pixel."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.post.colour import AUTO
from sora_jax.post.shots import Frame, Vector, smoothed

MAX_BLUR = 5.0
_SPREAD = 8.0  # frames over which the blur that is found is smoothed
_SHARP = 0.75  # pixels: edges of cameras and of anti-aliasing are as wide
_LITTLE = 0.4  # pixels: less blur than this beyond it is left alone
_TURNS = 6


def sharpen(frames: Iterable[Frame], blur: float | str = AUTO) -> Iterator[Frame]:
    """Undo a Gaussian blur of `blur` pixels (standard deviation), or of as many as are found.

    Brightness alone is sharpened, and no pixel leaves the range of those within the blur's reach,
    so edges have no halo.
    """
    if blur != AUTO:
        yield from (_undo(frame, float(blur)) for frame in frames)
        return
    for frame, _, found in smoothed(frames, lambda _, frame: _measure(frame), spread=_SPREAD):
        more = np.sqrt(max(found[0] ** 2 - _SHARP**2, 0.0))
        yield _undo(frame, float(more)) if more > _LITTLE else frame


def blur_of(frame: Frame) -> float:
    """Standard deviation in pixels of the blur of a frame's edges.

    The squared gradient of an edge of width s sums to a value in proportion to 1 / s. So the ratio
    of that sum before and after a further blur of known width tells s.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energy = [_energy(_blurred(grey, width)) for width in (0.7, 1.7)]  # the first calms the noise
    if energy[1] < 1e-3:
        return 0.0
    ratio = (energy[0] / energy[1]) ** 2  # (s^2 + b^2) / (s^2 + a^2)
    if ratio <= 1:
        return MAX_BLUR
    return float(np.sqrt(max((1.7**2 - 0.7**2 * ratio) / (ratio - 1), 0.0)))


def _measure(frame: Frame) -> Vector:
    return np.array([min(blur_of(frame), MAX_BLUR)])


def _undo(frame: Frame, width: float) -> Frame:
    """Van Cittert's iteration on brightness: add what another blur takes away, again and again."""
    colour = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)
    given = colour[..., 0].astype(np.float32)
    reach = 2 * int(np.ceil(width)) + 1
    window = np.ones((reach, reach), np.uint8)
    low, high = cv2.erode(given, window), cv2.dilate(given, window)
    sharp = given
    for _ in range(_TURNS):
        sharp = np.clip(sharp + given - _blurred(sharp, width), low, high)
    # The same step in all channels keeps the hue.
    step = (sharp - given)[..., None]
    return np.clip(np.round(frame + step), 0, 255).astype(np.uint8)


def _blurred(grey: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    return cv2.GaussianBlur(grey, (0, 0), width, borderType=cv2.BORDER_REPLICATE)


def _energy(grey: NDArray[np.float32]) -> float:
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    return float(np.square(across).mean() + np.square(down).mean())
