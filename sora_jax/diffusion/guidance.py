"""Classifier-free guidance in x0 (Ho and Salimans 2022), with an interval and a rescale."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float

Denoise = Callable[[Float[Array, "B L P"], Float[Array, "B F"]], Float[Array, "B L P"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guidance:
    """How far to move away from the unconditional estimate, where, and how to keep its contrast."""

    scale: float = 1.0
    """1 = off: the conditional estimate is returned as it is and nothing else is computed."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels [low, high] at which guidance acts (Kynkaanniemi et al. 2024)."""
    rescale: float = 0.0
    """Share of the conditional estimate's standard deviation that is restored, in [0, 1]."""

    def __post_init__(self):
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"interval {self.interval} must be rising and within [0, 1]")
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale {self.rescale} must be in [0, 1]")
        if self.scale < 0:
            raise ValueError(f"cfg_scale {self.scale} must not be negative; 1 is off")


def guide(
    cond: Float[Array, "B L P"],
    uncond: Float[Array, "B L P"],
    scale: float,
    rescale: float,
) -> Float[Array, "B L P"]:
    """Extrapolate from `uncond` through `cond`; `scale` 1 returns `cond` to the bit.

    `rescale` mixes in the estimate with its spread brought back to that of `cond` (Lin et al. 2024,
    section 3.4), which undoes the contrast that large scales add.
    """
    if scale == 1:
        return cond
    guided = uncond + scale * (cond - uncond)
    if rescale == 0:
        return guided
    axes = tuple(range(1, cond.ndim))
    spread, wanted = (jnp.std(x, axis=axes, keepdims=True) for x in (guided, cond))
    return guided * (rescale * wanted / jnp.maximum(spread, 1e-6) + 1 - rescale)


def make_guided(cond: Denoise, uncond: Denoise, guidance: Guidance) -> Denoise:
    """Combine two denoisers. `uncond` runs only with guidance on, and only inside its interval."""
    if guidance.scale == 1:
        return cond
    low, high = guidance.interval

    def denoise(xt: Float[Array, "B L P"], sigma: Float[Array, "B F"]) -> Float[Array, "B L P"]:
        x0 = cond(xt, sigma)
        level = jnp.max(sigma)  # known frames are at 0, all others at the level of the grid
        return jax.lax.cond(
            (level >= low) & (level <= high),
            lambda: guide(x0, uncond(xt, sigma), guidance.scale, guidance.rescale),
            lambda: x0,
        )

    return denoise
