"""The toy world behind its objects: texture and light, exactly as clips show them."""

from __future__ import annotations

import numpy as np

from sora_jax.data.scene import TEXTURE_CELL, Light


def checker(size: int, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """Draw the soft checker seen by a camera at `shift` [T] and `zoom` [T], T H W in [-1, 1]."""
    place = np.arange(size, dtype=np.float32) + 0.5 - size / 2
    scale = (np.pi / TEXTURE_CELL / zoom).astype(np.float32)[:, None]
    across = np.sin((place - shift.astype(np.float32)[:, None]) * scale)
    down = np.sin(place * scale)
    return np.clip(3 * down[:, :, None] * across[:, None, :], -1, 1)


def light_field(light: Light, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain (H 1 3) and the glow (3) of a light over a picture `size` pixels high."""
    height = ((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None, None]
    top, bottom = np.asarray(light.top, np.float32), np.asarray(light.bottom, np.float32)
    return top + height * (bottom - top), np.asarray(light.glow, np.float32)
