"""From random access to batches, indexed by the global step.

Batch `k` is a pure function of (source, seed, batch size, k). So the whole state of the input is
one integer, a restart repeats nothing and skips nothing, and any number of hosts see the same
global batch: each takes its contiguous slice of it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import grain
import numpy as np

from sora_jax.data.records import Sample, Source
from sora_jax.errors import UsageError

# What turns a stored sample into arrays of one shape; `rng` depends on (seed, sample id) alone.
type Transform = Callable[[Any, np.random.Generator], Sample]


class Batches:
    """An endless iterator of batches (dicts of stacked arrays) that knows where it stands.

    `next_batch` is the global step whose batch comes next: save it, and construct or `seek` with
    it to go on exactly there. Indexing gives any batch without moving the iterator.
    """

    def __init__(self, dataset: grain.MapDataset, start_step: int, options: grain.ReadOptions):
        self._dataset = dataset
        self._options = options
        self.seek(start_step)

    @property
    def next_batch(self) -> int:
        """The global step of the batch that `next` will give."""
        return self._next_batch

    def seek(self, step: int) -> None:
        """Go to the batch of a global step."""
        if step < 0:
            raise UsageError(f"step is {step}; batches start at 0")
        self._next_batch = step
        ahead = self._dataset[step:].to_iter_dataset(self._options)
        self._iterator: Iterator[Sample] = iter(ahead)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Sample:
        batch = next(self._iterator)
        self._next_batch += 1
        return batch

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
    num_threads: int = 1,
) -> Batches:
    """Batches of `batch_size` samples over all hosts; this host gets its slice of each.

    Each epoch visits every sample once, in another order. `sample_id` (int64 B) in the batch is
    the global count `step * batch_size + position`: derive a sample's randomness from it.
    `host` is (index, count). Up to eight batches are read ahead by `num_threads` threads.
    """
    index, count = host
    if not len(source):
        raise UsageError("the data source is empty; give it at least one sample")
    if batch_size < 1 or batch_size % count:
        raise UsageError(f"batch_size {batch_size} must be a multiple of the {count} hosts")
    dataset = grain.MapDataset.source(source).seed(seed)
    if shuffle:
        dataset = dataset.shuffle()
    # A finite "for ever": the batching of an endless dataset overflows for a batch size of 1.
    dataset = dataset.repeat(2**48 // len(source)).map_with_index(_Prepare(transform, seed))
    # A batch is `count` slices in a row, so every count-th slice, from `index` on, is this host's.
    dataset = dataset.batch(batch_size // count)[index::count]
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=8)
    return Batches(dataset, start_step, options)


class _Prepare:
    """Apply the transform with the sample's own random generator, and add `sample_id`."""

    def __init__(self, transform: Transform | None, seed: int):
        self._transform = transform
        self._seed = seed

    def __call__(self, sample_id: int, item: Any) -> Sample:
        if self._transform is not None:
            rng = np.random.Generator(np.random.Philox(key=[self._seed, sample_id]))
            item = self._transform(item, rng)
        return {**item, "sample_id": np.int64(sample_id)}
