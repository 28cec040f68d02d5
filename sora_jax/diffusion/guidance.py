"""Classifier-free guidance in x0 (Ho and Salimans 2022), with an interval and a rescale."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Scalar

type Number = float | Scalar
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

    def strength(self) -> "Strength | None":
        """Values for a compiled program, or None when guidance is off."""
        return None if self.scale == 1 else Strength(self.scale, self.rescale, *self.interval)


class Strength(NamedTuple):
    """Guidance as numbers that may be traced, so that another scale is no other program."""

    scale: Number
    rescale: Number
    low: Number
    high: Number


def guide(
    cond: Float[Array, "B L P"], uncond: Float[Array, "B L P"], scale: Number, rescale: Number
) -> Float[Array, "B L P"]:
    """Extrapolate from `uncond` through `cond`; `scale` 1 returns `cond`, to the bit.

    `rescale` mixes in the estimate with its spread brought back to that of `cond` (Lin et al. 2024,
    section 3.4), which undoes the contrast that large scales add.
    """
    guided = cond + (scale - 1) * (cond - uncond)
    axes = tuple(range(1, cond.ndim))
    spread, wanted = (jnp.std(x, axis=axes, keepdims=True) for x in (guided, cond))
    return guided * (1 + rescale * (wanted / jnp.maximum(spread, 1e-6) - 1))


def make_guided(cond: Denoise, uncond: Denoise, strength: Strength | None) -> Denoise:
    """Combine two denoisers. `uncond` runs only with guidance on, and only inside its interval."""
    if strength is None:
        return cond

    def denoise(xt: Float[Array, "B L P"], sigma: Float[Array, "B F"]) -> Float[Array, "B L P"]:
        x0 = cond(xt, sigma)
        level = jnp.max(sigma)  # known frames are at 0, all others at the level of the grid
        return jax.lax.cond(
            (level >= strength.low) & (level <= strength.high),
            lambda: guide(x0, uncond(xt, sigma), strength.scale, strength.rescale),
            lambda: x0,
        )

    return denoise
