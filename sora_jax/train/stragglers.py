"""Which process holds the others up: the time that each needs on its host for its batches."""

import contextlib
import logging
import time

import numpy as np

from sora_jax.sharding import hosts

_RATIO = 1 / 0.7  # over the median of the others, from which a process is named
_LEAST = 0.05  # of the time of a step, for a difference to matter


class Slowest:
    """This process's own work beside the device, told to the others at log lines.

    In the update all wait for the slowest, so that only the time before it tells them apart.
    """

    def __init__(self):
        self._own, self._steps, self._since = 0.0, 0, time.perf_counter()

    @contextlib.contextmanager
    def timed(self):
        """Around the work of one step."""
        began = time.perf_counter()
        yield
        self._own += time.perf_counter() - began
        self._steps += 1

    def figures(self) -> dict[str, float]:
        """Seconds a step since the last call: of the slowest process, for its batch."""
        now = time.perf_counter()
        own, whole = self._own / self._steps, (now - self._since) / self._steps
        self._own, self._steps, self._since = 0.0, 0, now
        seconds = [row[0] for row in hosts.share("host seconds", [own])]
        slowest = int(np.argmax(seconds))
        others = float(np.median(np.delete(seconds, slowest))) if len(seconds) > 1 else own
        if straggles(seconds[slowest], others, whole) and hosts.is_first():
            logging.warning(
                "process %d holds the others up: %.3f s a step for its batches, and they need "
                "%.3f s; look at its machine and its disk",
                slowest,
                seconds[slowest],
                others,
            )
        return {"data_seconds": seconds[slowest]}


def straggles(slowest: float, others: float, step: float) -> bool:
    """Whether a process is slower than its peers by enough to matter. All in seconds a step."""
    return slowest > _RATIO * others and slowest - others > _LEAST * step
