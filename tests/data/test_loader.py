"""Batches are a pure function of the global step, whatever the restarts and hosts."""

import itertools
import threading
import time

import numpy as np
import pytest

from sora_jax.data import loader
from sora_jax.data.loader import Reading
from sora_jax.data.records import Columns
from sora_jax.errors import UsageError

SOURCE = Columns({"value": np.arange(23), "noise": np.zeros(23)})


def transform(sample, rng):
    return {"value": sample["value"], "noise": rng.random()}


def take(count, **options):
    options = {"batch_size": 4, "seed": 7, "transform": transform} | options
    return list(itertools.islice(loader.batches(SOURCE, **options), count))


def equal(first, second):
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("step", [1, 5, 13])
def test_a_restart_goes_on_exactly_where_it_stopped(step):
    whole = take(20)
    assert equal(whole[step:], take(20 - step, start_step=step))
    moved = loader.batches(SOURCE, batch_size=4, seed=7, transform=transform)
    for _ in range(step):
        next(moved)
    assert moved.next_batch == step
    moved.seek(2)
    assert equal([next(moved)], [whole[2]]) and moved.next_batch == 3
    assert equal([moved[step]], [whole[step]]) and moved.next_batch == 3


@pytest.mark.parametrize("num_hosts", [1, 2, 4])
def test_slices_of_the_hosts_make_up_the_global_batch(num_hosts):
    whole = take(9)
    parts = [take(9, host=(i, num_hosts)) for i in range(num_hosts)]
    joined = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert equal(whole, joined)


def test_each_epoch_visits_every_sample_once_in_another_order():
    values = np.concatenate([batch["value"] for batch in take(23)])  # 23 batches of 4: 4 epochs
    epochs = values.reshape(4, 23)
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_randomness_belongs_to_the_sample():
    """Noise depends on (seed, sample id), not on batch size, threads or host."""
    small = np.concatenate([batch["noise"] for batch in take(8)])
    large = np.concatenate(
        [batch["noise"] for batch in take(4, batch_size=8, reading=Reading(threads=3))]
    )
    assert np.array_equal(small, large) and len(set(small)) == 32
    ids = np.concatenate([batch["sample_id"] for batch in take(8)])
    assert np.array_equal(ids, np.arange(32))
    assert not np.array_equal(small, np.concatenate([b["noise"] for b in take(8, seed=8)]))


def test_without_shuffle_the_order_is_the_source():
    values = np.concatenate([batch["value"] for batch in take(5, shuffle=False)])
    assert np.array_equal(values[:20], np.arange(20))


def test_a_set_smaller_than_the_batch_repeats():
    tiny = Columns({"value": np.arange(3)})
    batch = next(loader.batches(tiny, batch_size=8, seed=0))
    assert sorted(batch["value"][:6]) == [0, 0, 1, 1, 2, 2]


def test_bad_sizes_are_refused():
    with pytest.raises(UsageError, match="batch_size 4 .* 3 hosts"):
        take(1, host=(0, 3))
    with pytest.raises(UsageError, match="step is -1"):
        take(1, start_step=-1)
    with pytest.raises(UsageError, match="empty"):
        loader.batches([], batch_size=1, seed=0)
    with pytest.raises(UsageError, match="lengths"):
        Columns({"a": [1], "b": [1, 2]})


class Slow:
    """Samples of which one is not there before it is let go."""

    def __init__(self, late: int):
        self.late, self.let_go = late, threading.Event()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == self.late:
            self.let_go.wait(30)
        return {"x": np.float32(index)}


def test_a_read_that_does_not_end_is_seen_while_batches_are_ready():
    slow = Slow(5)
    batches = loader.batches(slow, batch_size=1, seed=0, shuffle=False)
    assert batches.reading_since is None
    before = time.monotonic()
    next(batches)
    deadline = before + 30
    while batches.reading_since is None or next(batches)["x"][0] < 4:
        assert time.monotonic() < deadline
    began = batches.reading_since
    assert began is not None and before <= began <= time.monotonic()
    time.sleep(0.05)
    assert batches.reading_since == began  # the same read, still
    slow.let_go.set()
    assert next(batches)["x"] == 5 and next(batches)["x"] == 6
    batches.close()
