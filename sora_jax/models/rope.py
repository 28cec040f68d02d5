"""Rotary embedding of real-valued positions (Su et al. 2021), an axis at a time."""

import jax.numpy as jnp

from sora_jax.arrays import Array, Float

PERIODS = ((0.25, 16.0), (0.2, 8.0), (0.2, 8.0))  # seconds; mean sides of the picture


type Rotation = tuple[Array, Array]  # cosine and sine of each token's angles, B L 1 R


def rotation(position: Float[Array, "B L 3"], head_dim: int) -> Rotation:
    """Rotation by position, R = head_dim / 2 angles shared out over (time, y, x).

    Positions are continuous, so any frame rate, size, aspect and length is in range; the periods
    go from just above two tokens to well past a clip.
    """
    half = head_dim // 2
    counts = (half - 2 * (half // 3), half // 3, half // 3)
    parts = []
    for axis, (num, (low, high)) in enumerate(zip(counts, PERIODS, strict=True)):
        periods = low * (high / low) ** jnp.linspace(1.0, 0.0, num)
        parts.append(2 * jnp.pi * position[..., axis, None] / periods)
    angle = jnp.concatenate(parts, -1)[:, :, None]
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Float[Array, "B L N K"], rotation: Rotation) -> Float[Array, "B L N K"]:
    """Rotate each head's pairs (i, i + K/2) by the token's angles; norms are kept."""
    cos, sin = (part.astype(x.dtype) for part in rotation)
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
