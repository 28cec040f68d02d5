"""From random access to batches, indexed by the global step.

Batch `k` is a pure function of (source, seed, batch size, k). So the whole state of the input is
one integer, a restart repeats nothing and skips nothing, and any number of hosts see the same
global batch: each takes its contiguous slice of it.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np
from absl import flags

from sora_jax.data.records import Sample, Source
from sora_jax.errors import UsageError

# What turns a stored sample into arrays of one shape; `rng` depends on (seed, sample id) alone.
type Transform = Callable[[Any, np.random.Generator], Sample]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """Who reads ahead; it changes no batch and no order.

    On few cores threads are enough: decoding and reading leave Python's lock. Worker processes
    (each with its threads) take seconds to start and pay where there are cores to spare.
    """

    threads: int = 1
    workers: int = 0  # processes; 0: this one
    batches: int = 8  # kept ready

    def __post_init__(self):
        if min(self.threads, self.batches) < 1 or self.workers < 0:
            raise ValueError(
                f"threads {self.threads} and batches {self.batches} must be at least 1 and workers "
                f"{self.workers} at least 0"
            )


class Batches:
    """An endless iterator of batches (dicts of stacked arrays) that knows where it stands.

    `next_batch` is the global step whose batch comes next: save it, and construct or `seek` with
    it to go on exactly there. Indexing gives any batch without moving the iterator.
    """

    def __init__(
        self, dataset: grain.MapDataset, start_step: int, reading: Reading, clock: "ReadClock"
    ):
        self._dataset = dataset
        self._reading = reading
        self._clock = clock
        self._iterator: Iterator[Sample] | None = None
        self.seek(start_step)

    @property
    def next_batch(self) -> int:
        """The global step of the batch that `next` will give."""
        return self._next_batch

    @property
    def reading_since(self) -> float | None:
        """`time.monotonic()` at which the oldest read under way began; None if none is.

        Reads of worker processes are not seen.
        """
        return self._clock.oldest

    def seek(self, step: int) -> None:
        """Go to the batch of a global step."""
        if step < 0:
            raise UsageError(f"step is {step}; batches start at 0")
        self.close()
        self._next_batch = step

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Sample:
        if self._iterator is None:
            self._iterator = self._read_ahead()
        batch = next(self._iterator)
        self._next_batch += 1
        return batch

    def close(self) -> None:
        """Stop reading ahead, and end the workers."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None and hasattr(iterator, "close"):
            iterator.close()

    def _read_ahead(self) -> Iterator[Sample]:
        reading = self._reading
        ahead = self._dataset[self._next_batch :].to_iter_dataset(
            grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=reading.batches)
        )
        if reading.workers:
            if not flags.FLAGS.is_parsed():  # grain asks them; here nothing runs under absl.app
                flags.FLAGS.mark_as_parsed()
            ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=reading.workers))
        return iter(ahead)

    def __getitem__(self, step: int) -> Sample:
        return self._dataset[step]


def batches(
    source: Source[Any],
    *,
    batch_size: int,
    seed: int,
    transform: Transform | None = None,
    start_step: int = 0,
    shuffle: bool = True,
    host: tuple[int, int] = (0, 1),
    reading: Reading = Reading(),
) -> Batches:
    """Batches of `batch_size` samples over all hosts; this host gets its slice of each.

    Each epoch visits every sample once, in another order. `sample_id` (int64 B) in the batch is
    the global count `step * batch_size + position`: derive a sample's randomness from it.
    `host` is (index, count).
    """
    index, count = host
    if not len(source):
        raise UsageError("the data source is empty; give it at least one sample")
    if batch_size < 1 or batch_size % count:
        raise UsageError(f"batch_size {batch_size} must be a multiple of the {count} hosts")
    clock = ReadClock()
    dataset = grain.MapDataset.range(len(source)).seed(seed)
    if shuffle:
        dataset = dataset.shuffle()
    # A finite "for ever": the batching of an endless dataset overflows for a batch size of 1.
    dataset = dataset.repeat(2**48 // len(source))
    dataset = dataset.map_with_index(_Prepare(source, transform, seed, clock))
    # A batch is `count` slices in a row, so every count-th slice, from `index` on, is this host's.
    dataset = dataset.batch(batch_size // count)[index::count]
    return Batches(dataset, start_step, reading, clock)


def ready_batches(
    source: Source[Sample], *, start_step: int = 0, reading: Reading = Reading()
) -> Batches:
    """Batches that the source already gives: item `k` is that of step `k`, this host's slice."""
    clock = ReadClock()
    dataset = grain.MapDataset.range(len(source)).map(_Read(source, clock))
    return Batches(dataset, start_step, reading, clock)


class ReadClock:
    """Since when each thread of this process has been reading a sample."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Around one sample."""
        thread = threading.get_ident()
        self._since[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._since[thread]

    @property
    def oldest(self) -> float | None:
        """When the read that has taken longest began."""
        return min(list(self._since.values()), default=None)


@dataclasses.dataclass(frozen=True)
class _Read:
    """The sample of a number."""

    source: Source[Any]
    clock: ReadClock

    def __call__(self, number: int) -> Any:
        with self.clock.read():
            return self.source[number]


@dataclasses.dataclass(frozen=True)
class _Prepare:
    """The sample of a number, transformed with its own random generator, and its `sample_id`."""

    source: Source[Any]
    transform: Transform | None
    seed: int
    clock: ReadClock

    def __call__(self, sample_id: int, number: int) -> Sample:
        with self.clock.read():
            item = self.source[number]
            if self.transform is not None:
                rng = np.random.Generator(np.random.Philox(key=[self.seed, sample_id]))
                item = self.transform(item, rng)
            return {**item, "sample_id": np.int64(sample_id)}
