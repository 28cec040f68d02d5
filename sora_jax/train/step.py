"""The one jitted update."""

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from sora_jax.arrays import Key, Params, Scalar
from sora_jax.train.objectives import LossFn, Metrics
from sora_jax.train.optimizer import OptimizerConfig, power_ema, rate_factor
from sora_jax.train.state import TrainState

type Gradient = Callable[[Params, Any, Key], tuple[Scalar, Metrics, Params]]


@runtime_checkable
class TrainStep(Protocol):
    """The jitted update; `progress` is the share of the run that is done, in [0, 1)."""

    def __call__(
        self, state: TrainState, batch: Any, progress: float
    ) -> tuple[TrainState, Metrics]: ...

    def lower(self, state: Any, batch: Any, progress: Any) -> Any: ...  # of `jax.jit`


def make_train_step(
    gradient: Gradient,
    tx: optax.GradientTransformation,
    optimizer: OptimizerConfig,
    shardings: TrainState,
    ema_gamma: float,
) -> TrainStep:
    """The update by `tx`, sharded as `shardings` says; the old state's memory is reused.

    The objective finds the step in `batch["step"]`, once for every row.
    An update that is not finite is not applied: parameters, EMA and optimizer (its count too) stay
    as they were. It is counted in the state; the loop decides what to do about it.
    """

    def step(state: TrainState, batch: Any, progress: Scalar) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        rows = len(jax.tree.leaves(batch)[0])
        batch = batch | {"step": jnp.full(rows, state.step)}
        loss, metrics, grads = gradient(state.params, batch, key)
        norm = optax.global_norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        factor = rate_factor(optimizer, state.step, progress)
        params = jax.tree.map(lambda p, u: p + factor * u, state.params, updates)
        ema = power_ema(state.ema, params, state.step, ema_gamma)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        total, in_row = state.skipped
        skipped = jnp.stack([total + ~finite, jnp.where(finite, 0, in_row + 1)])
        new = state.replace(params=params, ema=ema, opt_state=opt_state)
        kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        metrics = metrics | {
            "loss": loss,
            "grad_norm": norm,
            "skipped": skipped[0],
            "skipped_in_row": skipped[1],
        }
        if optimizer.spike:
            metrics["spikes"] = optax.tree.get(kept.opt_state, "spikes")
        return kept.replace(step=state.step + 1, skipped=skipped), metrics

    jitted = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
    return cast(TrainStep, jitted)


def make_gradient(loss_fn: LossFn, parts: int = 1, place: Callable[[Any], Any] = lambda x: x):
    """Loss, figures and gradient of a batch, of which `parts` are taken one after the other.

    Every clip weighs the same, in whichever part it is. `place` lays a part out over devices.
    """
    whole = jax.value_and_grad(loss_fn, has_aux=True)

    def gradient(params: Params, batch: Any, key: Key) -> tuple[Scalar, Metrics, Params]:
        if parts == 1:
            (loss, metrics), grads = whole(params, batch, key)
            return loss, metrics, grads
        # Rows i, i + parts, ...: each device's rows stay where they are.
        batch = jax.tree.map(lambda x: _dealt(x, parts), batch)

        def one(part: Any):
            (loss, metrics), grads = whole(params, place(part), key)
            clips = metrics["clips"]
            return clips, jax.tree.map(lambda x: clips * x, (loss, metrics, grads))

        def add(total: Any, part: Any):
            return jax.tree.map(jnp.add, total, one(part)), None

        first, rest = (jax.tree.map(lambda x, i=i: x[i], batch) for i in (0, slice(1, None)))
        (clips, sums), _ = jax.lax.scan(add, one(first), rest)
        loss, metrics, grads = jax.tree.map(lambda x: x / clips, sums)
        return loss, metrics | {"clips": clips}, grads

    return gradient


def _dealt(x: jax.Array, parts: int) -> jax.Array:
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)
