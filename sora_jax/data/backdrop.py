"""The toy world behind its objects: texture and light, exactly as clips show them."""

from __future__ import annotations

import numpy as np

from sora_jax.data.scene import BACKGROUNDS, LIGHTS, TEXTURE_CELL


def checker(size: int, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """Draw the soft checker seen by a camera at `shift` [T] and `zoom` [T], T H W in [-1, 1]."""
    place = np.arange(size, dtype=np.float32) + 0.5 - size / 2
    scale = (np.pi / TEXTURE_CELL / zoom).astype(np.float32)[:, None]
    across = np.sin((place - shift.astype(np.float32)[:, None]) * scale)
    down = np.sin(place * scale)
    return np.clip(3 * down[:, :, None] * across[:, None, :], -1, 1)


def lit_background(name: str, light: str, size: int) -> np.ndarray:
    """Give the colour of a background under a light without texture, H 3 in [0, 255]."""
    spec = LIGHTS[light]
    height = ((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None]
    top, bottom = np.asarray(spec.top, np.float32), np.asarray(spec.bottom, np.float32)
    gain = top + height * (bottom - top)
    return np.clip(np.asarray(BACKGROUNDS[name], np.float32) * gain + spec.glow, 0, 255)


def lit_thing(colour: tuple[int, int, int], light: str) -> np.ndarray:
    """Give the colour of a thing under a light, [3]."""
    return np.asarray(colour, np.float32) * np.asarray(LIGHTS[light].things, np.float32)
