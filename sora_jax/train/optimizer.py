"""Optimizers by name, from optax."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from sora_jax.errors import UsageError

OPTIMIZERS = ("muon", "adamw")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    name: str = "muon"  # muon (for the matrices of blocks, Adam for the rest) | adamw
    rate: float = 1.5e-3  # of Adam
    matrix_rate: float = 5e-3  # of Muon, for the matrices of blocks
    warmup: int = 50  # steps of linear warm-up
    cooldown: float = 0.8  # last share of the run, in which the rate falls linearly to 0
    b2: float = 0.98  # Adam's second-moment decay
    weight_decay: float = 0.0  # of adamw
    clip: float = 1.0  # bound on the global gradient norm
    ns_steps: int = 5  # Newton-Schulz iterations of Muon


def make_optimizer(cfg: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer at its full rates; a step scales its updates by `rate_factor`.

    Raises UsageError for a name not in OPTIMIZERS.
    """
    if cfg.name == "adamw":
        update = optax.adamw(cfg.rate, b2=cfg.b2, weight_decay=cfg.weight_decay)
    elif cfg.name == "muon":
        update = optax.contrib.muon(
            cfg.matrix_rate,
            adam_learning_rate=cfg.rate,
            adam_b2=cfg.b2,
            ns_steps=cfg.ns_steps,
            preconditioning="aol",  # as good as one more iteration (Boissin et al. 2025)
            muon_weight_dimension_numbers=matrices,
        )
    else:
        raise UsageError(f"optimizer {cfg.name!r} is not known; use one of {OPTIMIZERS}")
    return optax.chain(optax.clip_by_global_norm(cfg.clip), update)


def rate_factor(cfg: OptimizerConfig, step: jax.Array, progress: jax.Array) -> jax.Array:
    """What the rates are multiplied by: warm-up over steps, 1, linear fall to 0 at the end.

    `progress` is the share of the run that is done, in [0, 1]: the program does not know how many
    steps the run will have.
    """
    rise = (step + 1) / max(cfg.warmup, 1)
    fall = (1 - progress) / max(cfg.cooldown, 1e-6)
    return jnp.clip(jnp.minimum(rise, fall), 0, 1).astype(jnp.float32)


def matrices(params: dict) -> dict:
    """How each parameter is a matrix, or None for those that Adam updates.

    Kernels inside blocks are: the last dim is the output, the one before the input, and a leading
    dim of stacked layers is neither.
    """

    def find(path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct):
        keys = [entry.key for entry in path]
        if keys[-1] != "kernel" or not {"blocks", "levels"} & set(keys):
            return None
        return optax.contrib.MuonDimensionNumbers(leaf.ndim - 2, leaf.ndim - 1)

    return jax.tree.map_with_path(find, params)


def power_ema(ema: dict, params: dict, step: jax.Array, gamma: float) -> dict:
    """EMA whose memory is a fixed share of the run (Karras et al. 2024, eq. 3); `step` from 0."""
    beta = (1 - 1 / (step.astype(jnp.float32) + 1)) ** (gamma + 1)
    return jax.tree.map(lambda e, p: p + beta * (e - p), ema, params)
