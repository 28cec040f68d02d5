"""Colour: white balance, exposure, warmth, contrast and saturation."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.post.shots import Frame, Vector, smoothed

AUTO = "auto"
MAX_STOPS = 4.0
_SPREAD = 12.0  # frames over which what is found by itself is smoothed
_SIDE = 160  # about as many rows and columns are looked at
_GAMMA = 2.2  # a gain of light is a gain of stored values to the power of 1 / gamma
_NEUTRAL = (0.30, 0.15, 0.08, 0.05)  # widths of the search for grey, in log ratios of channels
_FEW = 0.02  # share of pixels below which nothing is taken for grey
_DIM, _BRIGHT = 0.55, 0.9  # a clip whose light ends below the first is raised to the second
_WARM = (0.35, 0.0, -0.45)  # log gains of the warmest light; the coldest takes them away
_LUMA = (0.299, 0.587, 0.114)  # BT.601, as videos are stored here


def white_balance(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Take out a cast: what is nearly grey becomes grey, as much in each channel as it lacks.

    A pale colour that fills the picture cannot be told from a cast; where nothing is pale, nothing
    changes.
    """
    for frame, _, cast in smoothed(frames, lambda _, frame: _cast(frame), spread=_SPREAD):
        yield _apply(frame, np.exp(-cast))


def expose(frames: Iterable[Frame], stops: float | str) -> Iterator[Frame]:
    """Brighten by `stops` of light (-4 to 4), or, with "auto", a clip that is too dark."""
    if stops != AUTO:
        gain = np.full(3, 2 ** (float(stops) / _GAMMA))
        yield from (_apply(frame, gain) for frame in frames)
        return
    for frame, _, found in smoothed(frames, lambda _, frame: _lift(frame), spread=_SPREAD):
        yield _apply(frame, np.exp(np.repeat(found, 3)))


def warm(frames: Iterable[Frame], amount: float) -> Iterator[Frame]:
    """Light as of a low sun (1) or a blue hour (-1); grey keeps its brightness."""
    gains = np.exp(float(amount) * np.array(_WARM))
    gains /= gains @ np.array(_LUMA)
    yield from (_apply(frame, gains) for frame in frames)


def contrast(frames: Iterable[Frame], factor: float) -> Iterator[Frame]:
    """Spread values around the middle of their range by `factor`, 0 to 4."""
    curve = _to_bytes(127.5 + factor * (np.arange(256) - 127.5))
    yield from (cv2.LUT(frame, curve) for frame in frames)


def saturate(frames: Iterable[Frame], factor: float) -> Iterator[Frame]:
    """Bring colours away from grey of the same brightness by `factor`, 0 (grey) to 4."""
    mix = factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))
    for frame in frames:
        yield _to_bytes(cv2.transform(frame.astype(np.float32), mix))


def _cast(frame: Frame) -> Vector:
    """Log gains (3) of the light, with mean 0, by the ratios of channels of what is nearly grey.

    The middle of the log ratios, found again and again in a narrower neighbourhood of the last one
    (mean shift): grey world (Buchsbaum 1980) of the pixels that can be grey.
    """
    rows, columns = (max(1, side // _SIDE) for side in frame.shape[:2])
    pixels = frame[::rows, ::columns].reshape(-1, 3).astype(np.float64)
    is_fit = (pixels.min(1) >= 24) & (pixels.max(1) <= 250)  # neither noise nor cut off
    logs = np.log(pixels[is_fit])
    if len(logs) < _FEW * len(pixels):
        return np.zeros(3)
    ratios = logs - logs.mean(1, keepdims=True)
    middle = np.zeros(3)
    for width in _NEUTRAL:
        weight = np.exp(-0.5 * (np.square(ratios - middle).sum(1) / width**2))
        if weight.sum() < _FEW * len(pixels):
            return np.zeros(3)
        middle = weight @ ratios / weight.sum()
    return middle


def _lift(frame: Frame) -> Vector:
    """Log gain (1) that brings the brightest light of a dark frame to where it should be."""
    level = np.percentile(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 98) / 255
    if level >= _DIM:
        return np.zeros(1)
    return np.log([np.clip(_BRIGHT / max(level, 1e-3), 1, 2 ** (MAX_STOPS / _GAMMA))])


def _apply(frame: Frame, gains: Vector) -> Frame:
    curves = _to_bytes(np.arange(256)[:, None] * gains)
    return cv2.LUT(frame, curves[:, None])


def _to_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
