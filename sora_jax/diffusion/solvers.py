"""Solvers of dx/dsigma = (x - x0(x, sigma)) / sigma, from noise at sigma 1 down to data at 0.

Each is written through x0, in which the linear part has a closed form: between two levels the
noise shrinks by their ratio. A token whose level does not move (known tokens stay at 0) is left
exactly as it is. A solver takes one step,

    x, memory = step(denoise, x, sigma, sigma_next, factor, memory)

where `sigma` and `sigma_next` are scalars of the grid, `factor` (B L 1) in [0, 1] scales them to
each token, `denoise(x, sigma)` gives x0 at a scalar level, and `memory` is the previous step's.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Scalar
from sora_jax.diffusion import flow

Denoise = Callable[[Float[Array, "B L P"], Scalar], Float[Array, "B L P"]]


class Memory(NamedTuple):
    """What a multistep solver keeps of the previous step."""

    x0: Float[Array, "B L P"]
    sigma: Scalar


def init_memory(x: Float[Array, "B L P"]) -> Memory:
    """Memory before the first step: a slope to a level infinitely far away is 0."""
    return Memory(jnp.zeros_like(x), jnp.full((), jnp.inf, x.dtype))


def euler(denoise: Denoise, x, sigma, sigma_next, factor, memory: Memory):
    """First order, one evaluation a step: x0 is held constant."""
    x0 = denoise(x, sigma)
    return _hold(x, x0, sigma, sigma_next, factor), Memory(x0, sigma)


def heun(denoise: Denoise, x, sigma, sigma_next, factor, memory: Memory):
    """Second order, two evaluations a step: the velocity is averaged over both ends.

    Karras et al. 2022, algorithm 1 without churn. The step that ends at 0 is an Euler step, since
    the velocity there is not defined, and costs one evaluation.
    """
    x0 = denoise(x, sigma)
    end = _hold(x, x0, sigma, sigma_next, factor)

    def correct():
        first = flow.velocity_from_x0(x0, x, sigma * factor)
        last = flow.velocity_from_x0(denoise(end, sigma_next), end, sigma_next * factor)
        return x + (sigma_next - sigma) * factor * (first + last) / 2

    return jax.lax.cond(sigma_next > 0, correct, lambda: end), Memory(x0, sigma)


def multistep(denoise: Denoise, x, sigma, sigma_next, factor, memory: Memory):
    """Second order, one evaluation a step: x0 is extrapolated along a line in sigma.

    An exponential integrator with polynomial extrapolation (tAB-DEIS, Zhang and Chen 2023, eq. 14),
    the relative of DPM-Solver++(2M) that needs no log-SNR and so has no infinity at either end:
    x / sigma falls by the integral of x0(u) / u^2, and for x0(u) = x0 + slope (u - sigma)

        x_next = hold(x, x0) + slope (b log(a / b) - a + b),   a = sigma, b = sigma_next.

    The first step has no slope, and the last one, to 0, takes x0 as it is: extrapolating there
    would only sharpen the network's errors.
    """
    x0 = denoise(x, sigma)
    slope = (x0 - memory.x0) / (sigma - memory.sigma)
    # b log(a / b) tends to 0 with b, but the last step does not use it: any finite value will do.
    b = jnp.where(sigma_next > 0, sigma_next, sigma)
    weight = jnp.where(sigma_next > 0, b * jnp.log(sigma / b) - sigma + b, 0)
    # Levels of a token are `factor` times those of the grid, and so is the distance they go.
    change = jnp.where(factor > 0, slope * weight, 0)
    return _hold(x, x0, sigma, sigma_next, factor) + change, Memory(x0, sigma)


SOLVERS = {"euler": euler, "heun": heun, "multistep": multistep}


def get(name: str):
    """Solver of that name."""
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is not known; use one of {', '.join(SOLVERS)}")
    return SOLVERS[name]


def _hold(x, x0, sigma, sigma_next, factor):
    """Exact step for a constant x0: the noise shrinks by the ratio of the levels."""
    start = sigma * factor
    ratio = jnp.where(start > 0, sigma_next * factor / jnp.where(start > 0, start, 1), 1)
    return ratio * x + (1 - ratio) * x0
