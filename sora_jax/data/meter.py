"""What the input costs and wastes: figures that go out with those of the training."""

import collections
import math
import os
import time
from typing import Any

import numpy as np

from sora_jax.data.packing import PADDING_ROLE


class Meter:
    """Counts batches between two readings. Figures are of this process and its slice.

    `data_wait_share`   of the time, spent waiting for batches
    `clips_per_second`
    `padding_share`     of packed rows' tokens
    `clip_tokens_N`     share of packed clips that have N / 2 to N tokens, N - 1 counted
    `rss_gib`           resident memory
    """

    def __init__(self) -> None:
        self._start()

    def take(self, batches: Any) -> Any:
        """The next batch, timed."""
        begin = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - begin
        if isinstance(batch, dict):
            self._count(batch)
        return batch

    def figures(self) -> dict[str, float]:
        """Figures since they were last asked for."""
        seconds = time.perf_counter() - self._begin
        found = {
            "data_wait_share": self._waited / seconds,
            "clips_per_second": self._clips / seconds,
            "rss_gib": rss() / 2**30,
        }
        if self._tokens:
            found["padding_share"] = self._padding / self._tokens
            clips = sum(self._sizes.values())
            for size, count in sorted(self._sizes.items()):
                found[f"clip_tokens_{size}"] = count / max(clips, 1)
        self._start()
        return found

    def _start(self) -> None:
        self._begin = time.perf_counter()
        self._waited = 0.0
        self._clips = self._tokens = self._padding = 0
        self._sizes: collections.Counter[int] = collections.Counter()

    def _count(self, batch: dict[str, Any]) -> None:
        if "clip_grid" not in batch:
            self._clips += len(next(iter(batch.values())))
            return
        sizes = np.prod(np.asarray(batch["clip_grid"]), axis=-1).ravel()
        sizes = sizes[sizes > 0]
        self._clips += len(sizes)
        self._tokens += batch["role"].size
        self._padding += int(np.sum(batch["role"] == PADDING_ROLE))
        self._sizes.update(2 ** (int(math.log2(size)) + 1) for size in sizes)


def rss() -> int:
    """Resident memory of this process in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
