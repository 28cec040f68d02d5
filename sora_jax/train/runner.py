"""One run of the loop: set-up and resume. The same for every model."""

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax import config
from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import digest, goodput, loop, state, step, width
from sora_jax.train.checkpoint import Checkpoints, Position
from sora_jax.train.objectives import LossFn
from sora_jax.train.optimizer import OptimizerConfig, make_optimizer
from sora_jax.train.watchdog import Watchdog
from sora_jax.train.writers import Writer

# How a run is done, not what it is; latents are measured, on another machine in other last bits.
MAY_DIFFER = ("loop.watchdog.", "loop.accumulate", ".attention.", "model.latents.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained and how."""

    make: type  # module class: make(model, rngs=...)
    model: Any  # its config
    init: Callable[[jax.Array], Params]
    make_loss: Callable[[meshes.Mesh], LossFn]  # raises UsageError for what the mesh cannot hold
    optimizer: OptimizerConfig
    loop: loop.LoopConfig


@dataclasses.dataclass(frozen=True)
class Built:
    """A plan on a mesh."""

    step_fn: step.TrainStep
    fresh: Callable[[], state.TrainState]
    abstract: state.TrainState
    shardings: state.TrainState


def build(plan: Plan, mesh: meshes.Mesh) -> Built:
    """The compiled-to-be step and the sharded state; nothing is drawn before `fresh` is called.

    Raises UsageError for a batch that the mesh can't divide, and for a base width where there is no
    width.
    """
    rows, shards, parts = plan.loop.batch_size, meshes.num_batch_shards(mesh), plan.loop.accumulate
    if rows % (shards * parts):
        raise UsageError(
            f"batch_size {rows} is not divisible by the {shards} shards of the mesh times "
            f"accumulate {parts}; use {-(-rows // (shards * parts)) * shards * parts}"
        )

    _, shapes, names = network.graph(plan.make, plan.model)
    base = plan.optimizer.base_width
    factors = width.factors(shapes, names, base) if base else None
    tx = make_optimizer(plan.optimizer, lambda stack: meshes.spread(mesh, stack), factors)
    abstract = jax.eval_shape(lambda p: state.fresh(p, tx, plan.loop.seed), shapes)
    shardings = state.state_shardings(mesh, abstract, names)

    def fresh() -> state.TrainState:
        # Drawn outside jit: every mesh starts from the same bits.
        params = jax.tree.map(jnp.asarray, plan.init(jax.random.key(plan.loop.seed)))
        make = jax.jit(lambda p: state.fresh(p, tx, plan.loop.seed), out_shardings=shardings)
        return make(params)

    gradient = step.make_gradient(plan.make_loss(mesh), parts, lambda x: meshes.by_rows(mesh, x))
    step_fn = step.make_train_step(gradient, tx, plan.optimizer, shardings, plan.loop.ema_gamma)
    return Built(step_fn, fresh, abstract, shardings)


def run(
    plan: Plan,
    batches: loop.BatchSource,
    *,
    workdir: Path,
    mesh: meshes.Mesh,
    writers: Callable[[float], Sequence[Writer]],
    hooks: loop.Hooks,
) -> loop.Result:
    """Train to the end, from the newest checkpoint in `workdir` if there is one.

    `writers(progress)` opens the writers of a run of which that share is done. Raises UsageError
    for a length in minutes on several hosts, whose clocks differ.
    """
    if not plan.loop.steps and jax.process_count() > 1:
        raise UsageError("loop.steps is 0 (a length in minutes) on several hosts; give the steps")
    workdir.mkdir(parents=True, exist_ok=True)
    ledger = goodput.Ledger(workdir / goodput.FILE if hosts.is_first() else None)
    with contextlib.ExitStack() as closing:
        watch = closing.enter_context(contextlib.closing(Watchdog(plan.loop.watchdog, ledger)))
        watch.enter("init")
        checkpoints = Checkpoints(
            workdir / "checkpoints", _settings(plan), _versions(), may_differ=MAY_DIFFER
        )
        closing.callback(checkpoints.close)
        built = build(plan, mesh)
        if checkpoints.latest is None:
            start, position = built.fresh(), Position()
            watch.enter("compile")
            digest.digests(start)  # so that the first save does not wait for this program
        else:
            watch.enter("restore")
            start, position = checkpoints.restore(built.abstract, built.shardings)
        batches.seek(position.next_batch)
        opened = writers(position.progress) if position.progress < 1 else []
        for writer in opened:
            closing.callback(writer.close)
        return loop.fit(
            built.step_fn,
            start,
            batches,
            plan.loop,
            clock=loop.Clock(plan.loop, position.progress),
            mesh=mesh,
            checkpoints=checkpoints,
            hooks=dataclasses.replace(hooks, writers=opened, watch=watch),
        )


def _settings(plan: Plan) -> dict[str, Any]:
    """What a checkpoint says of the run that it belongs to."""
    return {
        "model": config.to_dict(plan.model),
        "optimizer": config.to_dict(plan.optimizer),
        "loop": config.to_dict(plan.loop),
    }


def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {name: importlib.metadata.version(name) for name in packages}
