"""What a training run is at a step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sora_jax.arrays import Params
from sora_jax.sharding import mesh as meshes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that the next step depends on, but the data."""

    step: Any  # () int32
    params: Params
    ema: Params
    opt_state: Any
    key: Any
    """Key data (uint32) of the run's randomness; never changes."""
    skipped: Any
    """(2,) int32: updates that were not finite and so not applied; of them, in a row up to now."""

    def replace(self, **changes) -> "TrainState":
        return dataclasses.replace(self, **changes)


def fresh(params: Params, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=tx.init(params),
        key=jax.random.key_data(jax.random.key(seed)),
        skipped=jnp.zeros(2, jnp.int32),
    )


def state_shardings(mesh, abstract: TrainState, names: Any) -> TrainState:
    """Where every leaf of the state lives: EMA and moments are spread over `data` too."""
    params = meshes.param_shardings(mesh, abstract.params, names)
    spread = meshes.param_shardings(mesh, abstract.params, names, meshes.AXES)
    whole = meshes.replicated(mesh)
    return TrainState(
        step=whole,
        params=params,
        ema=spread,
        key=whole,
        skipped=whole,
        opt_state=meshes.like(mesh, abstract.opt_state, abstract.params, spread),
    )
