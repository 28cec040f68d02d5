"""One run of the loop: set-up, resume, and steps from minutes. The same for every model."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax import files
from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.sharding import mesh as meshes
from sora_jax.train import loop, state, step
from sora_jax.train.checkpoint import Checkpoints
from sora_jax.train.objectives import LossFn
from sora_jax.train.optimizer import OptimizerConfig, make_optimizer
from sora_jax.train.writers import Writer

LENGTH = "steps.json"  # of a run whose length was given in minutes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained and how."""

    make: type  # module class: make(model, rngs=...)
    model: Any  # its config
    init: Callable[[jax.Array], Params]
    loss_fn: LossFn
    optimizer: OptimizerConfig
    loop: loop.LoopConfig


@dataclasses.dataclass(frozen=True)
class Built:
    """A plan on a mesh, for a run of known length."""

    step_fn: step.TrainStep
    fresh: Callable[[], state.TrainState]
    abstract: state.TrainState
    shardings: state.TrainState


def build(plan: Plan, mesh: meshes.Mesh, steps: int) -> Built:
    """The compiled-to-be step and the sharded state of a run of `steps`.

    Raises UsageError for a batch that the mesh can't divide.
    """
    rows, shards = plan.loop.batch_size, meshes.num_batch_shards(mesh)
    if rows % shards:
        raise UsageError(
            f"batch_size {rows} is not divisible by the {shards} shards of the mesh; use "
            f"{-(-rows // shards) * shards}"
        )

    tx = make_optimizer(plan.optimizer, steps)
    _, _, names = network.graph(plan.make, plan.model)
    # Drawn once, outside jit: every mesh starts from the same bits.
    params = jax.tree.map(jnp.asarray, plan.init(jax.random.key(plan.loop.seed)))
    abstract = jax.eval_shape(lambda p: state.fresh(p, tx, plan.loop.seed), params)
    shardings = state.state_shardings(mesh, abstract, names)

    def fresh() -> state.TrainState:
        make = jax.jit(lambda p: state.fresh(p, tx, plan.loop.seed), out_shardings=shardings)
        return make(params)

    step_fn = step.make_train_step(plan.loss_fn, tx, shardings, plan.loop.ema_gamma)
    return Built(step_fn, fresh, abstract, shardings)


def run(
    plan: Plan,
    batches: loop.BatchSource,
    *,
    workdir: Path,
    mesh: meshes.Mesh,
    writers: Callable[[int, int], Sequence[Writer]],
    hooks: loop.Hooks,
) -> loop.Result:
    """Train to the end, from the newest checkpoint in `workdir` if there is one.

    `writers(start, steps)` opens the writers once the length of the run is known.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints")
    steps = plan.loop.steps or _length(plan, batches, workdir, mesh)
    built = build(plan, mesh, steps)
    if checkpoints.latest is None:
        start, next_batch = built.fresh(), 0
    else:
        start, next_batch = checkpoints.restore(built.abstract, built.shardings)
    batches.seek(next_batch)
    done = int(start.step)
    opened = writers(done, steps) if done < steps else []

    cfg = dataclasses.replace(plan.loop, steps=steps)
    try:
        return loop.fit(
            built.step_fn,
            start,
            batches,
            cfg,
            mesh=mesh,
            checkpoints=checkpoints,
            writers=opened,
            hooks=hooks,
        )
    finally:
        for writer in opened:
            writer.close()
        checkpoints.close()


def _length(plan: Plan, batches: loop.BatchSource, workdir: Path, mesh: meshes.Mesh) -> int:
    """Steps that fit in the minutes on this machine: measured once, then kept with the run."""
    path = workdir / LENGTH
    if path.exists():
        return json.loads(path.read_text())["steps"]
    built = build(plan, mesh, steps=1000)
    batch = meshes.put_batch(mesh, next(batches))
    seconds = loop.measure(built.step_fn, built.fresh(), batch)
    steps = max(int(plan.loop.minutes * 60 / seconds), 2 * plan.optimizer.warmup)
    files.write_text(path, json.dumps({"steps": steps, "seconds_per_step": seconds}) + "\n")
    return steps
