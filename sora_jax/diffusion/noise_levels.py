"""Noise levels for training: one sigma for each latent frame of a clip.

All draws are made in logits, log(sigma / (1 - sigma)): a logit-normal is then a normal, and
shifting the level for larger clips (Esser et al. 2024, eq. 23) adds log(shift).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Key, Scalar

UNIFORM_EDGE = 1e-5  # the uniform part is drawn in (edge, 1 - edge), where logits are finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Distribution of noise levels over clips and over the frames of a clip."""

    mean: float = 2.0
    """Mean logit of sigma; 2 is a level of .88. Layout and motion are decided at such levels."""
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
    shape_key, one_key, frames_key, ramp_key = jax.random.split(key, 4)
    one = _draw_logit(one_key, cfg)
    # Counted by number, so that longer tables (rows with other clips) leave the draws as they are.
    keys = jax.vmap(lambda i: jax.random.fold_in(frames_key, i))(jnp.arange(position.shape[0]))
    independent = jax.vmap(lambda frame_key: _draw_logit(frame_key, cfg))(keys)
    ramp = one + _ramp(ramp_key, cfg.ramp_height, position)
    draw = jax.random.uniform(shape_key)
    logit = jnp.where(
        draw < cfg.one_share,
        one,
        jnp.where(draw < cfg.one_share + cfg.independent_share, independent, ramp),
    )
    return jax.nn.sigmoid(logit)


def _draw_logit(key: Key, cfg: NoiseConfig) -> Scalar:
    choice_key, normal_key, uniform_key = jax.random.split(key, 3)
    normal = cfg.mean + math.log(cfg.shift) + cfg.spread * jax.random.normal(normal_key)
    level = jax.random.uniform(uniform_key, minval=UNIFORM_EDGE, maxval=1 - UNIFORM_EDGE)
    is_uniform = jax.random.uniform(choice_key) < cfg.uniform_share
    return jnp.where(is_uniform, jax.scipy.special.logit(level), normal)


def _ramp(key: Key, height: float, position: Float[Array, " F"]) -> Float[Array, " F"]:
    """A line or a tent over time, up or down, within +-`height` / 2."""
    height_key, tent_key = jax.random.split(key)
    rise = jax.random.uniform(height_key, minval=-height, maxval=height)
    tent = 1 - jnp.abs(2 * position - 1)
    return rise * (jnp.where(jax.random.bernoulli(tent_key), tent, position) - 0.5)
