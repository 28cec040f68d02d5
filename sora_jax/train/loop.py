"""The loop: one for every model that is trained here.

Order of a step: take a batch, update, every `log_every` steps write the figures of the last such
step (so that nothing waits for the device), evaluate, save. The data position is saved with the
state. A watchdog knows at every moment what the loop is doing.
"""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax

from sora_jax.data.meter import Meter
from sora_jax.errors import Preempted, RunError
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train.checkpoint import Checkpoints, Position
from sora_jax.train.state import TrainState
from sora_jax.train.step import TrainStep
from sora_jax.train.stragglers import Slowest
from sora_jax.train.watchdog import Watchdog, WatchdogConfig, unwatched
from sora_jax.train.writers import Writer


class Stopped(Exception):
    """The person pressed Ctrl-C; the run was saved and goes on when it is started again."""


@runtime_checkable
class BatchSource(Protocol):
    """What the loop needs of its data (`data.loader.Batches`)."""

    @property
    def next_batch(self) -> int: ...

    @property
    def reading_since(self) -> float | None: ...

    def seek(self, step: int) -> None: ...

    def __next__(self) -> Any: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig:
    steps: int = 0  # 0: as many as fit in the minutes
    minutes: float = 10.0  # of wall time: steps, evaluation, samples and compiling
    batch_size: int = 16  # rows over all devices
    accumulate: int = 1  # parts of a batch that are taken one after the other
    log_every: int = 50
    checkpoint_every: int = 1000
    eval_every: int = 1000
    ema_gamma: float = 12.0  # memory of the power EMA: larger is shorter
    seed: int = 0
    max_skipped: int = 3  # updates in a row that are not finite and so not applied
    on_skipped: Literal["stop", "rollback"] = "stop"  # what happens after them
    watchdog: WatchdogConfig = WatchdogConfig()

    def __post_init__(self):
        if self.max_skipped < 1:
            raise ValueError(f"max_skipped is {self.max_skipped}; give at least 1")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate}; give at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What happens beside the updates; wired by whoever starts the loop."""

    evaluate: Callable[[TrainState], dict[str, float]] | None = None
    samples: Callable[[int, TrainState], dict] | None = None  # -> video files by name
    writers: Sequence[Writer] = ()
    watch: Watchdog = dataclasses.field(default_factory=unwatched)


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

    Raises Stopped after Ctrl-C, Preempted after SIGTERM to any process, and RunError after too many
    updates that are not finite; in all cases a good state is on disk.
    """
    step = int(state.step)
    progress = clock(step)
    began, timed_from, beside = None, step, 0.0
    log = _Log(cfg, hooks.writers, int(state.skipped[0]))
    watch, slowest, meter = hooks.watch, Slowest(), Meter()
    update = _Update(step_fn, watch)
    watch.ledger.write(step)
    watch.follow(lambda: batches.reading_since)

    with _stop_when_asked() as stop:
        while progress < 1:
            watch.enter("data")
            with slowest.timed():
                batch = meshes.put_batch(mesh, meter.take(batches))
            state, metrics = update(state, batch, progress)
            step += 1
            progress = clock(step)

            if began is None:  # the first step is slower than the others
                jax.block_until_ready(metrics)
                began, timed_from = time.perf_counter(), step
            if step % cfg.log_every == 0 or progress == 1:
                try:
                    log.write_pending()
                except _Lost as lost:
                    watch.enter("restore")
                    state = _roll_back(state, checkpoints, cfg, lost, log.rolled_to)
                    step = log.rolled_to = int(state.step)
                    progress = clock(step)
                    continue  # with the next batches: those that did it are not seen again
                figures = {"progress": progress} | slowest.figures() | meter.figures()
                log.pending = (step, batches.next_batch, metrics | figures)
                watch.ledger.write(step)
            hooks_from = time.perf_counter()
            if step % cfg.eval_every == 0 or progress == 1:
                jax.block_until_ready(metrics)  # steps under way are not the hooks' time
                hooks_from = time.perf_counter()
                watch.enter("evaluate")
                _run_hooks(hooks, step, state)
            # A run that is complete is saved below, so that it is found complete.
            if step % cfg.checkpoint_every == 0 and progress < 1:
                watch.enter("save")
                log.flush()  # whoever goes on from here does not write this line again
                checkpoints.save(step, state, Position(batches.next_batch, progress))
            beside += time.perf_counter() - hooks_from
            is_wanted_back = hosts.is_wanted_back(step) or stop.is_wanted_back
            if (stop.requested or is_wanted_back) and progress < 1:
                log.write_pending()
                watch.enter("save")
                checkpoints.save(step, state, Position(batches.next_batch, progress))
                checkpoints.wait()
                watch.ledger.write(step)
                ending = Preempted if is_wanted_back else Stopped
                raise ending(f"stopped at step {step}, {progress:.0%}; the same command goes on")
        log.write_pending()
        rate = (
            0.0 if began is None else (step - timed_from) / (time.perf_counter() - began - beside)
        )
        watch.enter("save")
        checkpoints.save(step, state, Position(batches.next_batch, progress))
        checkpoints.wait()
        watch.ledger.write(step)
    return Result(state, step, rate, update.compiles)


class _Update:
    """The train step, compiled for each shape of batch that comes."""

    def __init__(self, step_fn: TrainStep, watch: Watchdog):
        self._step_fn, self._watch = step_fn, watch
        self._programs: dict[tuple, Callable] = {}

    @property
    def compiles(self) -> int:
        return len(self._programs)

    def __call__(self, state: TrainState, batch: Any, progress: float) -> tuple[TrainState, dict]:
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in self._programs:
            self._watch.enter("compile")
            self._programs[shapes] = self._step_fn.lower(state, batch, progress).compile()
            hosts.barrier("compiled")  # an update waits for its peers only so long
        self._watch.enter("step")
        return self._programs[shapes](state, batch, progress)


def _run_hooks(hooks: Hooks, step: int, state: TrainState) -> None:
    if hooks.evaluate:
        figures = hooks.evaluate(state)
        for writer in hooks.writers:
            writer.scalars(step, figures)
    if hooks.samples:
        try:
            paths = hooks.samples(step, state)
        except (OSError, RunError) as error:  # a full disk: the run is worth more than its pictures
            logging.warning("samples of step %d were not written: %s", step, error)
            paths = {}
        for writer in hooks.writers:
            writer.videos(step, paths)
    hosts.barrier(f"hooks of step {step}")  # the first one's samples are not the others' next step


class _Lost(RunError):
    """Too many updates in a row were not finite. The message says which, and of which samples."""


class _Log:
    """Writes the figures of one log line when the next is due, and counts bad updates."""

    def __init__(self, cfg: LoopConfig, writers: Sequence[Writer], skipped: int):
        self.pending: tuple[int, int, dict] | None = None  # step, next batch, metrics
        self.rolled_to: int | None = None  # step of the last roll-back
        self._cfg, self._writers, self._skipped = cfg, writers, skipped
        self._spikes: int | None = None  # not known before the first line
        self._lost: _Lost | None = None

    def write_pending(self) -> None:
        """Write what is due. Raises _Lost."""
        self.flush()
        lost, self._lost = self._lost, None
        if lost:
            raise lost

    def flush(self) -> None:
        """Write what is due; whether it is the end is asked later."""
        if self.pending is None:
            return
        (step, next_batch, metrics), self.pending = self.pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for writer in self._writers:
            writer.scalars(step, values)
        total, in_row = int(values["skipped"]), int(values["skipped_in_row"])
        if total > self._skipped:
            logging.warning(
                "%d updates by step %d were not finite and were not applied (%d in all)",
                total - self._skipped,
                step,
                total,
            )
        self._skipped = total
        spikes = int(values.get("spikes", 0))
        if self._spikes is not None and spikes > self._spikes:
            logging.warning(
                "%d gradients by step %d were spikes and were scaled down to their bound (%d in "
                "all)",
                spikes - self._spikes,
                step,
                spikes,
            )
        self._spikes = spikes
        if in_row >= self._cfg.max_skipped:
            rows = self._cfg.batch_size
            self._lost = _Lost(
                f"the loss or its gradient was not finite in the {in_row} updates up to step {step}"
                f" (samples {(next_batch - in_row) * rows} to {next_batch * rows - 1})"
            )


def _roll_back(
    state: TrainState,
    checkpoints: Checkpoints,
    cfg: LoopConfig,
    lost: _Lost,
    rolled_to: int | None,
) -> TrainState:
    """The state of the newest checkpoint. Raises RunError if it is not wanted or did not help."""
    if cfg.on_skipped == "stop":
        raise RunError(
            f"{lost}; they were not applied and the newest checkpoint is good: lower the rate, "
            "raise warmup, look at these samples, or set loop.on_skipped to 'rollback'"
        ) from lost
    checkpoints.wait()
    if checkpoints.latest in (None, rolled_to):
        raise RunError(
            f"{lost}, and step {rolled_to or 0} is as far back as there is: lower the rate or "
            "raise warmup"
        ) from lost
    before, _ = checkpoints.restore(state, jax.tree.map(lambda leaf: leaf.sharding, state))
    logging.warning("%s; going on from step %d with other samples", lost, int(before.step))
    return before


@dataclasses.dataclass
class _Stop:
    requested: bool = False
    is_wanted_back: bool = False  # it was SIGTERM


@contextlib.contextmanager
def _stop_when_asked():
    """Turn Ctrl-C and SIGTERM into a request to stop after the step; a second one interrupts.

    SIGTERM is JAX's own business where its distributed service runs: a handler would disable it.
    """
    stop = _Stop()

    def handle(number, _frame):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested, stop.is_wanted_back = True, number == signal.SIGTERM
        logging.warning("stopping after this step; press Ctrl-C again to stop at once")

    ours = [signal.SIGINT] + [signal.SIGTERM] * (not jax.distributed.is_initialized())
    try:
        before = {number: signal.signal(number, handle) for number in ours}
    except ValueError:  # not the main thread: the caller's own business
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
