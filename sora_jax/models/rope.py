"""Rotary embedding of real-valued positions (Su et al. 2021), an axis at a time."""

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float

type Rotation = tuple[Array, Array]  # cosine and sine of each token's angles, B L 1 R


def rotation(
    position: Float[Array, "B L 3"], head_dim: int, periods: tuple[tuple[float, float], ...]
) -> Rotation:
    """Rotation by position, R = head_dim / 2 angles shared out over (time, y, x).

    Positions are continuous, so any frame rate, size, aspect and length is in range. `periods` are
    the shortest and the longest of each axis, in the units of its positions.
    """
    half = head_dim // 2
    counts = (half - 2 * (half // 3), half // 3, half // 3)
    parts = []
    for axis, (num, (low, high)) in enumerate(zip(counts, periods, strict=True)):
        ladder = low * (high / low) ** jnp.linspace(1.0, 0.0, num)
        parts.append(2 * jnp.pi * position[..., axis, None] / ladder)
    angle = jnp.concatenate(parts, -1)[:, :, None]
    # Behind a barrier, or XLA takes the cosine anew in each layer that multiplies by it.
    return jax.lax.optimization_barrier((jnp.cos(angle), jnp.sin(angle)))


def rotate(x: Float[Array, "B L N K"], rotation: Rotation) -> Float[Array, "B L N K"]:
    """Rotate each head's pairs (i, i + K/2) by the token's angles; norms are kept."""
    cos, sin = (part.astype(x.dtype) for part in rotation)
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
