"""Deflicker: brightness that jumps from frame to frame, made steady."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from sora_jax.post.shots import Frame, Vector, smoothed

_SPREAD = 8.0  # frames: what changes more slowly is no flicker
_SIDE = 96
_LOW, _HIGH = 16, 248  # values outside are noise, or cut off
_FEW = 0.05  # share of pixels below which nothing is known
_MAX_STEP = 0.4  # log: a larger step is a change of the scene


def deflicker(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Give each frame the brightness, in each channel, of the smooth path through its neighbours'.

    Brightness is followed by the median ratio of pixels that lie upon each other, so that what
    moves does not count, and a slow fade stays.
    """
    for frame, own, smooth in smoothed(frames, _step, spread=_SPREAD, is_path=True):
        gains = np.exp(smooth - own)
        curves = np.clip(np.round(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
        yield cv2.LUT(frame, curves[:, None])


def _step(before: Frame | None, frame: Frame) -> Vector:
    """Log of how much brighter each channel (3) is than in the frame before."""
    if before is None:
        return np.zeros(3)
    rows, columns = (max(1, side // _SIDE) for side in frame.shape[:2])
    a, b = (f[::rows, ::columns].reshape(-1, 3).astype(np.float64) for f in (before, frame))
    found = np.zeros(3)
    for channel in range(3):
        x, y = a[:, channel], b[:, channel]
        is_fit = (np.minimum(x, y) >= _LOW) & (np.maximum(x, y) <= _HIGH)
        if is_fit.mean() >= _FEW:
            found[channel] = np.median(np.log(y[is_fit] / x[is_fit]))
    return np.where(np.abs(found) <= _MAX_STEP, found, 0)
