"""Scales that leave the network a task of unit size at every noise level and in every channel.

The EDM argument (Karras et al. 2022, appendix B.6) for the flow path. A channel of the data with
variance v has Var[x_t] = total = (1 - sigma)^2 v + sigma^2, so c_in = 1 / sqrt(total) gives the
network an input of unit variance. Of the denoised x0 = c_skip x_t + c_out raw, the best linear
guess c_skip = Cov[x0, x_t] / Var[x_t] = (1 - sigma) v / total needs no network; what it leaves
unexplained has variance v - c_skip^2 total = sigma^2 v / total, so c_out = sigma sqrt(v / total)
makes the target of `raw` of unit variance. At sigma 0 the output is x_t itself, at sigma 1 it is
sqrt(v) raw.

For velocity prediction `raw` is the velocity divided by its standard deviation sqrt(1 + v), hence
x0 = x_t - sigma sqrt(1 + v) raw. The input scale is the same.
"""

from typing import NamedTuple

import jax.numpy as jnp

from sora_jax.arrays import Array, Float

PREDICTIONS = ("x0", "velocity")
LOSS_SPACES = ("x0", "velocity")


class Precondition(NamedTuple):
    """x0 = c_skip x_t + c_out network(c_in x_t)."""

    c_in: Float[Array, "*#b P"]
    c_skip: Float[Array, "*#b P"]
    c_out: Float[Array, "*#b P"]


def precondition(
    sigma: Float[Array, "*#b 1"], variance: Float[Array, " P"], prediction: str = "x0"
) -> Precondition:
    """Scales at `sigma` for channels of `variance` > 0. `prediction` is one of PREDICTIONS."""
    total = (1 - sigma) ** 2 * variance + sigma**2
    c_in = 1 / jnp.sqrt(total)
    if prediction == "x0":
        return Precondition(c_in, (1 - sigma) * variance / total, sigma * jnp.sqrt(variance) * c_in)
    if prediction == "velocity":
        return Precondition(c_in, jnp.ones_like(total), -sigma * jnp.sqrt(1 + variance))
    raise ValueError(f"prediction {prediction!r} is not known; use one of {PREDICTIONS}")


def denoise(
    raw: Float[Array, "*#b P"],
    xt: Float[Array, "*#b P"],
    sigma: Float[Array, "*#b 1"],
    variance: Float[Array, " P"],
    prediction: str = "x0",
) -> Float[Array, "*#b P"]:
    """Estimate x0 from the network's output for the input `c_in * xt`."""
    scales = precondition(sigma, variance, prediction)
    return scales.c_skip * xt + scales.c_out * raw


def loss_weight(sigma: Float[Array, "*s"], loss_space: str, clip: float) -> Float[Array, "*s"]:
    """Weight of the squared error of x0 at `sigma`, at most `clip`.

    "x0": min(1 + 16 SNR, clip) with SNR = ((1 - sigma) / sigma)^2, so that layout, decided where
    there is little signal, keeps a weight of 1. "velocity": min(1 / sigma^2, clip), since the error
    of the velocity is that of x0 divided by sigma.
    """
    # Below 1e-6 every weight is far above any useful clip, and 1 / sigma^2 stays inside float32.
    sigma = jnp.maximum(sigma, 1e-6)
    if loss_space == "x0":
        return jnp.minimum(1 + (4 * (1 - sigma) / sigma) ** 2, clip)
    if loss_space == "velocity":
        return jnp.minimum(sigma**-2, clip)
    raise ValueError(f"loss_space {loss_space!r} is not known; use one of {LOSS_SPACES}")
