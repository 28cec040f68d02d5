"""The straight path between data and noise, and every conversion along it.

x_t = (1 - sigma) x0 + sigma noise, with velocity dx/dsigma = noise - x0 (Liu et al. 2023,
rectified flow). `sigma` is per token: any shape that broadcasts against the latents, usually B L
1. Where a conversion divides by zero (nothing can be said about noise at sigma 0, or about data at
sigma 1) the result is 0 instead of infinite, so that clean tokens pass through the same arithmetic
as noisy ones.
"""

import jax.numpy as jnp

from sora_jax.arrays import Array, Float

type Latents = Float[Array, "*s"]
type Sigma = Float[Array, "*#s"]


def add_noise(x0: Latents, noise: Latents, sigma: Sigma) -> Latents:
    """Move data towards noise."""
    return (1 - sigma) * x0 + sigma * noise


def velocity(x0: Latents, noise: Latents) -> Latents:
    """Derivative of `add_noise` by sigma."""
    return noise - x0


def x0_from_velocity(velocity: Latents, xt: Latents, sigma: Sigma) -> Latents:
    return xt - sigma * velocity


def noise_from_velocity(velocity: Latents, xt: Latents, sigma: Sigma) -> Latents:
    return xt + (1 - sigma) * velocity


def velocity_from_x0(x0: Latents, xt: Latents, sigma: Sigma) -> Latents:
    """Velocity of the path that ends at `x0`; 0 where sigma is 0."""
    return _divide(xt - x0, sigma)


def noise_from_x0(x0: Latents, xt: Latents, sigma: Sigma) -> Latents:
    """Noise that was added to `x0`; 0 where sigma is 0."""
    return _divide(xt - (1 - sigma) * x0, sigma)


def x0_from_noise(noise: Latents, xt: Latents, sigma: Sigma) -> Latents:
    """Data under the noise; 0 where sigma is 1."""
    return _divide(xt - sigma * noise, 1 - sigma)


def velocity_from_noise(noise: Latents, xt: Latents, sigma: Sigma) -> Latents:
    """Velocity of the path that begins at `noise`; 0 where sigma is 1."""
    return _divide(noise - xt, 1 - sigma)


def _divide(numerator: Latents, denominator: Sigma) -> Latents:
    # The inner `where` keeps the gradient finite too: a masked 1 / 0 still has a NaN derivative.
    is_zero = denominator == 0
    return jnp.where(is_zero, 0, numerator / jnp.where(is_zero, 1, denominator))
