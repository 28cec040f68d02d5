"""Optimizers by name, from optax."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.train import width
from sora_jax.train.muon import Spread, muon

OPTIMIZERS = ("muon", "adamw")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    name: str = "muon"  # muon (for the matrices of blocks, Adam for the rest) | adamw
    rate: float = 1.5e-3  # of Adam
    matrix_rate: float = 5e-3  # of Muon, for the matrices of blocks
    base_width: int = 0
    """Width of the transformer at which the rates were found: at another one Adam's rate of each
    kernel follows by muP's rule (`train/width.py`). 0: the rates are used as they are."""
    warmup: int = 50  # steps of linear warm-up
    cooldown: float = 0.8  # last share of the run, in which the rate falls linearly to 0
    b2: float = 0.98  # Adam's second-moment decay
    weight_decay: float = 0.0  # of adamw
    clip: float = 1.0  # bound on the global gradient norm
    spike: float = 0.0
    """Bound on the norm as a multiple of its running mean, for batches that would throw the run
    off; 0: none. A gradient over it is a spike: it is scaled down to the bound and counted."""
    ns_steps: int = 5  # Newton-Schulz iterations of Muon
    discriminator_rate: float = 0.0
    """Of an Adam with a clip of its own for the parameters under "discriminator" (first moment .5,
    as is usual against an opponent that moves); 0: they are like the rest."""
    state_dtype: Literal["float32", "bfloat16"] = "float32"  # of moments; sums are float32

    def __post_init__(self):
        if self.base_width < 0:
            raise ValueError(f"base_width is {self.base_width}; give a width, or 0 for none")
        if self.spike and self.spike <= 1:
            raise ValueError(
                f"spike is {self.spike} mean norms of the gradient; give more than 1, or 0 for none"
            )


def make_optimizer(
    cfg: OptimizerConfig,
    spread: Spread = lambda stack: stack,
    factors: Params | None = None,
) -> optax.GradientTransformation:
    """The optimizer at its full rates; a step scales its updates by `rate_factor`.

    `spread` lays a stack of matrices out over devices for Muon; `factors` are those of Adam's rates
    (`width.factors`). Raises UsageError for a name not in OPTIMIZERS.
    """
    if cfg.name == "adamw":
        update = _adam(cfg, factors, optax.add_decayed_weights(cfg.weight_decay))
    elif cfg.name == "muon":
        kinds = {
            "muon": muon(cfg.matrix_rate, cfg.ns_steps, spread),
            "adam": _adam(cfg, factors),
        }
        update = optax.partition(kinds, matrices)
    else:
        raise UsageError(f"optimizer {cfg.name!r} is not known; use one of {OPTIMIZERS}")
    clip = optax.clip_by_global_norm(cfg.clip)
    parts = [clip, update]
    if cfg.discriminator_rate:
        critic = optax.chain(clip, optax.adam(cfg.discriminator_rate, b1=0.5, b2=cfg.b2))
        sides = {"discriminator": critic, "rest": optax.chain(clip, update)}
        parts = [optax.partition(sides, _sides)]
    if cfg.state_dtype != "float32":
        parts[-1] = _stored_in(parts[-1], cfg.state_dtype)
    spikes = [clip_spikes(cfg.spike)] if cfg.spike else []
    return optax.chain(*spikes, *parts)


def _adam(
    cfg: OptimizerConfig, factors: Params | None, *decay: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Adam; weights decay at one speed in every width."""
    widths = [] if factors is None else [width.scale(factors)]
    rate = optax.scale_by_learning_rate(cfg.rate)
    return optax.chain(optax.scale_by_adam(b2=cfg.b2), *widths, *decay, rate)


class SpikeState(NamedTuple):
    """What `clip_spikes` knows of the gradients up to now."""

    mean_norm: Any  # () float32: running mean of the norm, spikes at their bound
    seen: Any  # () int32: gradients
    spikes: Any  # () int32: of them, over the bound


def clip_spikes(factor: float, memory: int = 100) -> optax.GradientTransformation:
    """Scale a gradient down to `factor` times the running mean of the norm, and count it.

    The mean is over about the last `memory` gradients, each at most at the bound of its time: a
    spike moves it little, a lasting rise moves it all the way. Until half of them are seen the mean
    says too little, and nothing is bounded.
    """

    def init(_params: Params) -> SpikeState:
        return SpikeState(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(grads: Params, state: SpikeState, _params: Params | None = None):
        norm = optax.tree.norm(grads)
        is_known = state.seen >= memory // 2
        bound = jnp.where(is_known, factor * state.mean_norm, jnp.inf)
        is_spike = norm > bound
        bounded = jnp.minimum(norm, bound)
        seen = state.seen + 1
        weight = 1 / jnp.minimum(seen, memory)  # a plain mean at first
        mean = state.mean_norm + weight * (bounded - state.mean_norm)
        scale = jnp.where(is_spike, bound / norm, 1.0)
        grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        return grads, SpikeState(mean, seen, state.spikes + is_spike)

    return optax.GradientTransformation(init, update)


def _stored_in(tx: optax.GradientTransformation, dtype: str) -> optax.GradientTransformation:
    """`tx` with its state rounded to `dtype` between updates, which compute in float32."""

    def cast(state: Any, to: str) -> Any:
        return jax.tree.map(
            lambda x: x.astype(to) if jnp.issubdtype(x.dtype, jnp.floating) else x, state
        )

    def update(grads: Any, state: Any, params: Any = None):
        updates, state = tx.update(grads, cast(state, "float32"), params)
        return updates, cast(state, dtype)

    return optax.GradientTransformation(lambda params: cast(tx.init(params), dtype), update)


def rate_factor(cfg: OptimizerConfig, step: jax.Array, progress: jax.Array) -> jax.Array:
    """What the rates are multiplied by: warm-up over steps, 1, linear fall to 0 at the end.

    `progress` is the share of the run that is done, in [0, 1]: the program does not know how many
    steps the run will have.
    """
    rise = (step + 1) / max(cfg.warmup, 1)
    fall = (1 - progress) / max(cfg.cooldown, 1e-6)
    return jnp.clip(jnp.minimum(rise, fall), 0, 1).astype(jnp.float32)


def _sides(params: dict) -> dict:
    """Whether each parameter is the discriminator's."""

    def find(path: tuple, _leaf: Any) -> str:
        return "discriminator" if path[0].key == "discriminator" else "rest"

    return jax.tree.map_with_path(find, params)


def matrices(params: dict) -> dict:
    """Which of muon and adam updates each parameter.

    Kernels inside blocks are matrices: the last dim is the output, the one before the input, and a
    leading dim of stacked layers is neither.
    """

    def find(path: tuple, _leaf: Any) -> str:
        keys = {entry.key for entry in path}
        return "muon" if "kernel" in keys and keys & {"blocks", "levels"} else "adam"

    return jax.tree.map_with_path(find, params)


def power_ema(ema: dict, params: dict, step: jax.Array, gamma: float) -> dict:
    """EMA whose memory is a fixed share of the run (Karras et al. 2024, eq. 3); `step` from 0."""
    beta = (1 - 1 / (step.astype(jnp.float32) + 1)) ** (gamma + 1)
    return jax.tree.map(lambda e, p: p + beta * (e - p), ema, params)
