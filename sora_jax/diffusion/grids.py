"""Grids of noise levels that a sampler walks down."""

import jax.numpy as jnp

from sora_jax.arrays import Array, Float


def shift_sigma(sigma: Float[Array, "*s"], shift: float) -> Float[Array, "*s"]:
    """Move levels towards 1, as larger clips need (Esser et al. 2024, eq. 23). 1 = identity."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def sigma_grid(steps: int, shift: float, start: float = 1.0) -> Float[Array, " N"]:
    """Falling levels from `start` to 0: steps + 1 of them, evenly spaced before the shift.

    `start` below 1 begins from data that are noised part of the way; it is the level itself, after
    the shift.
    """
    if steps < 1:
        raise ValueError(f"steps {steps} is not enough; use at least 1")
    if shift <= 0 or not 0 < start <= 1:
        raise ValueError(f"shift {shift} must be positive and start {start} in (0, 1]")
    # The inverse of a shift is the shift by its reciprocal.
    first = shift_sigma(jnp.float32(start), 1 / shift)
    grid = shift_sigma(first * jnp.linspace(1, 0, steps + 1, dtype=jnp.float32), shift)
    return grid.at[0].set(start)  # exactly, so that nothing of what is under the noise is seen
