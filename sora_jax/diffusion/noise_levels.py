"""Noise levels for training: one sigma for each latent frame of a clip.

All draws are made in logits, log(sigma / (1 - sigma)): a logit-normal is then a normal, and
shifting the level for larger clips (Esser et al. 2024, eq. 23) adds log(shift).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Key

UNIFORM_EDGE = 1e-5  # draws are in (edge, 1 - edge), where logits and normals are finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Distribution of noise levels over clips and over the frames of a clip."""

    mean: float = 1.0
    """Mean logit of sigma; 1 is a level of .73, for latents of mean variance 1. Layout and motion
    are decided above it, outlines below."""
    spread: float = 1.6
    """Standard deviation in logits."""
    uniform_share: float = 0.1
    """Share of draws that are uniform in (0, 1) instead, so that every level is seen."""
    shift: float = 1.0
    """Moves the logit-normal towards noise, as clips with more tokens need; 1 is the identity."""
    one_share: float = 0.5
    """Share of clips with one level for all frames."""
    independent_share: float = 0.3
    """Share of clips whose frames have their own draws."""
    ramp_share: float = 0.2
    """Share of clips whose level rises, falls or makes a tent over time."""
    ramp_height: float = 6.0
    """Largest rise of a ramp over the clip, in logits."""

    def __post_init__(self):
        shares = (self.one_share, self.independent_share, self.ramp_share)
        if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(
                f"one_share, independent_share and ramp_share are {shares}; they must not be "
                "negative and must sum to 1"
            )
        if not 0 <= self.uniform_share <= 1:
            raise ValueError(f"uniform_share {self.uniform_share} must be in [0, 1]")
        if self.spread <= 0 or self.shift <= 0:
            raise ValueError(f"spread {self.spread} and shift {self.shift} must be positive")


def sample_sigma(key: Key, cfg: NoiseConfig, position: Float[Array, " F"]) -> Float[Array, " F"]:
    """Draw the sigma of each latent frame of one clip.

    `position` is the place of each frame within the clip, from 0 (first) to 1 (last). The draw of a
    frame does not depend on how many other frames are in the table.
    """
    # One call of the generator for all draws, row by row: the first rows of a table do not depend
    # on how many rows it has.
    draws = jax.random.uniform(
        key, (2 + position.shape[0], 3), minval=UNIFORM_EDGE, maxval=1 - UNIFORM_EDGE
    )
    shape, rise, is_tent = draws[0, 0], draws[0, 1], draws[0, 2] < 0.5
    logits = _logits(draws[1:], cfg)
    one, independent = logits[0], logits[1:]
    time = jnp.where(is_tent, 1 - jnp.abs(2 * position - 1), position)
    ramp = one + cfg.ramp_height * (2 * rise - 1) * (time - 0.5)
    is_one, is_own = shape < cfg.one_share, shape < cfg.one_share + cfg.independent_share
    return jax.nn.sigmoid(jnp.where(is_one, one, jnp.where(is_own, independent, ramp)))


def _logits(draws: Float[Array, "N 3"], cfg: NoiseConfig) -> Float[Array, " N"]:
    """Turn rows of uniform draws into logits of the mixture."""
    normal = cfg.mean + math.log(cfg.shift) + cfg.spread * jax.scipy.special.ndtri(draws[:, 1])
    uniform = jax.scipy.special.logit(draws[:, 2])
    return jnp.where(draws[:, 0] < cfg.uniform_share, uniform, normal)
