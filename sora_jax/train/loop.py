"""The loop: one for every model that is trained here.

Order of a step: take a batch, update, every `log_every` steps write the figures of the step before
(so that nothing waits for the device), evaluate, save. The data position is saved with the state.
"""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax

from sora_jax.errors import RunError
from sora_jax.sharding import mesh as meshes
from sora_jax.train.checkpoint import Checkpoints, Position
from sora_jax.train.state import TrainState
from sora_jax.train.step import TrainStep
from sora_jax.train.writers import Writer


class Stopped(Exception):
    """The person pressed Ctrl-C; the run was saved and goes on when it is started again."""


@runtime_checkable
class BatchSource(Protocol):
    """What the loop needs of its data (`data.loader.Batches`)."""

    @property
    def next_batch(self) -> int: ...

    def seek(self, step: int) -> None: ...

    def __next__(self) -> Any: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    steps: int = 0  # 0: as many as fit in the minutes
    minutes: float = 10.0  # of wall time: steps, evaluation, samples and compiling
    batch_size: int = 16  # rows over all devices
    log_every: int = 50
    checkpoint_every: int = 1000
    eval_every: int = 1000
    ema_gamma: float = 12.0  # memory of the power EMA: larger is shorter
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What happens beside the updates; wired by whoever starts the loop."""

    evaluate: Callable[[TrainState], dict[str, float]] | None = None
    samples: Callable[[int, TrainState], dict] | None = None  # -> video files by name
    writers: Sequence[Writer] = ()


@dataclasses.dataclass
class Result:
    """How a run of the loop went."""

    state: TrainState
    steps: int
    steps_per_second: float  # in this process; compiling, evaluation and saving apart
    compiles: int  # of the train step


class Clock:
    """How much of a run is done: by its steps, or by its time if it was given in minutes.

    A run in minutes ends when they are over, however fast the machine is and whatever slows it down
    on the way; the rates follow, since they fall with this share and not with the step.
    """

    def __init__(self, cfg: LoopConfig, done: float = 0.0):
        self._steps, self._seconds = cfg.steps, cfg.minutes * 60
        self._start = time.perf_counter() - done * self._seconds

    def __call__(self, step: int) -> float:
        """Share of the run that is done after `step` steps; 1 is the end."""
        if self._steps:
            return min(step / self._steps, 1.0)
        return min((time.perf_counter() - self._start) / self._seconds, 1.0)


def fit(
    step_fn: TrainStep,
    state: TrainState,
    batches: BatchSource,
    cfg: LoopConfig,
    *,
    clock: Clock,
    mesh: meshes.Mesh,
    checkpoints: Checkpoints,
    hooks: Hooks,
) -> Result:
    """Train until the clock says 1.

    Raises Stopped after Ctrl-C and RunError for a loss that is not finite; in both cases the newest
    good state is on disk.
    """
    step = int(state.step)
    progress = clock(step)
    pending: tuple[int, dict] | None = None
    began, timed_from, beside = None, step, 0.0
    skipped: Any = 0

    with _stop_on_interrupt() as stop:
        while progress < 1:
            batch = meshes.put_batch(mesh, next(batches))
            state, metrics = step_fn(state, batch, progress)
            step += 1
            progress = clock(step)
            # Counted on the device: a step between two log lines is not overlooked.
            skipped = metrics["skipped"] = skipped + metrics["skipped"]

            if began is None:  # the first step compiles
                jax.block_until_ready(metrics)
                began, timed_from = time.perf_counter(), step
            if step % cfg.log_every == 0 or progress == 1:
                _write(hooks.writers, pending)
                pending = (step, metrics | {"progress": progress})
            hooks_from = time.perf_counter()
            if step % cfg.eval_every == 0 or progress == 1:
                jax.block_until_ready(metrics)  # steps under way are not the hooks' time
                hooks_from = time.perf_counter()
                _run_hooks(hooks, step, state)
            # A run that is complete is saved below, so that it is found complete.
            if step % cfg.checkpoint_every == 0 and progress < 1:
                checkpoints.save(step, state, Position(batches.next_batch, progress))
            beside += time.perf_counter() - hooks_from
            if stop.requested and progress < 1:
                _write(hooks.writers, pending)
                checkpoints.save(step, state, Position(batches.next_batch, progress))
                checkpoints.wait()
                raise Stopped(f"stopped at step {step}, {progress:.0%}; the same command goes on")
        _write(hooks.writers, pending)
    rate = 0.0 if began is None else (step - timed_from) / (time.perf_counter() - began - beside)
    checkpoints.save(step, state, Position(batches.next_batch, progress))
    checkpoints.wait()
    return Result(state, step, rate, step_fn._cache_size())


def _run_hooks(hooks: Hooks, step: int, state: TrainState) -> None:
    if hooks.evaluate:
        figures = hooks.evaluate(state)
        for writer in hooks.writers:
            writer.scalars(step, figures)
    if hooks.samples:
        paths = hooks.samples(step, state)
        for writer in hooks.writers:
            writer.videos(step, paths)


def _write(writers: Sequence[Writer], pending: tuple[int, dict] | None) -> None:
    if pending is None:
        return
    step, metrics = pending
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    for writer in writers:
        writer.scalars(step, values)
    if values["skipped"]:
        raise RunError(
            f"the loss or its gradient was not finite by step {step}; the checkpoint "
            "before it is good: lower the rate or raise warmup, and start again"
        )


@dataclasses.dataclass
class _Stop:
    requested: bool = False


@contextlib.contextmanager
def _stop_on_interrupt():
    """Turn the first Ctrl-C into a request to stop after the step; the second one interrupts."""
    stop = _Stop()

    def handle(_signal, _frame):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        logging.warning("stopping after this step; press Ctrl-C again to stop at once")

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: the caller's own business
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
