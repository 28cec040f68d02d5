"""A watchdog: a run that hangs ends, with its stacks, within a known time.

JAX never notices a process that lives and does nothing: its heartbeats go on. So a thread of our
own looks at what the loop is doing and since when.
"""

import dataclasses
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

from sora_jax.train.goodput import Ledger

EXIT_CODE = 75  # told apart from a crash by whoever starts the run again


@dataclasses.dataclass(frozen=True, kw_only=True)
class WatchdogConfig:
    """Longest time in seconds of each thing that the loop does; 0: no limit."""

    init: float = 3600.0  # parameters and the optimizer's state are made
    restore: float = 3600.0  # the newest checkpoint is read and checked
    compile: float = 3600.0  # also the wait for the slowest process to have done so
    step: float = 900.0  # also the wait for the steps that are under way
    data: float = 600.0  # a batch is waited for, or one sample is read beside the steps
    save: float = 1800.0
    evaluate: float = 7200.0  # held-out loss and samples

    def __post_init__(self):
        for name, limit in dataclasses.asdict(self).items():
            if limit < 0:
                raise ValueError(f"{name} is {limit} s; give 0 for no limit, or seconds")


class Watchdog:
    """Say what begins with `enter`; `close` when nothing can hang any more.

    What is said goes into the ledger too: it counts the time.
    """

    def __init__(
        self,
        cfg: WatchdogConfig,
        ledger: Ledger | None = None,
        end: Callable[[str], None] | None = None,
    ):
        self._limits = dataclasses.asdict(cfg)
        self.ledger = ledger or Ledger(None)
        self._end = end or _end
        self._doing: tuple[str, float] | None = None  # and when it began
        self._reading_since: Callable[[], float | None] = lambda: None
        self._closed = threading.Event()
        limits = [limit for limit in self._limits.values() if limit]
        if limits:
            pause = min(1.0, min(limits) / 10)
            threading.Thread(target=self._watch, args=(pause,), daemon=True).start()

    def enter(self, name: str) -> None:
        """What came before is over, `name` (a field of the config) begins."""
        assert name in self._limits, name
        self._doing = (name, time.monotonic())
        self.ledger.enter(name)

    def follow(self, reading_since: Callable[[], float | None]) -> None:
        """Hold threads that read ahead to the limit of `data`, while batches are still ready too.

        `reading_since` says when the oldest read under way began, by `time.monotonic()`.
        """
        self._reading_since = reading_since

    def close(self) -> None:
        self._closed.set()

    def _watch(self, pause: float) -> None:
        while not self._closed.wait(pause):
            for name, what, began in self._under_way():
                limit, took = self._limits[name], time.monotonic() - began
                if limit and took > limit:
                    self._end(
                        f"{what} has taken {took:.0f} s and its limit is {limit:g} s "
                        f"(loop.watchdog.{name}); the stacks of all threads are above"
                    )
                    return

    def _under_way(self) -> list[tuple[str, str, float]]:
        """Whose limit, what it is, and when it began."""
        found = [(name, name, began) for name, began in [self._doing or ("", 0.0)] if name]
        reading = self._reading_since()
        return found if reading is None else [*found, ("data", "reading a sample", reading)]


def unwatched() -> Watchdog:
    """A watchdog without limits."""
    return Watchdog(WatchdogConfig(**{f.name: 0.0 for f in dataclasses.fields(WatchdogConfig)}))


def _end(message: str) -> None:
    """Print every thread's stack and the message, and leave without asking anyone."""
    faulthandler.dump_traceback(all_threads=True)
    sys.stderr.write(f"sora-jax: {message}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
