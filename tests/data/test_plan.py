"""The global plan: every clip once an epoch, no row over its capacity, any row found at once."""

import collections
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

from sora_jax.data import fill
from sora_jax.data.fill import Buckets, PackedRows, Pattern
from sora_jax.data.packing import RowSize
from sora_jax.data.plan import Part, Plan
from sora_jax.errors import LimitError, UsageError

SIZE = RowSize(tokens=4096, frames=64, text=64, clips=16)
# Rows and columns of tokens: square, landscape, portrait.
SIDES = ((16, 16), (12, 12), (8, 8), (16, 9), (9, 16), (20, 11), (11, 20), (14, 10), (10, 14))


def mixture(count, seed=0):
    """Images and clips of 1 to 16 chunks in nine shapes."""
    rng = np.random.default_rng(seed)
    chunks = np.where(rng.random(count) < 0.3, 1, rng.integers(1, 17, count))
    sides = np.array(SIDES)[rng.integers(0, len(SIDES), count)]
    return np.concatenate([chunks[:, None], sides], axis=1).astype(np.int16)


def make_plan(*parts, filler=None, seed=3):
    return Plan(parts, filler or PackedRows(SIZE), seed=seed)


def epoch_clips(plan, epoch):
    numbers = plan.numbers(plan.epoch_start(epoch), plan.epoch_start(epoch + 1))
    return numbers[numbers >= 0]


def test_an_epoch_has_every_clip_once_and_the_next_has_them_in_another_order():
    plan = make_plan(Part(name="a", grids=[mixture(3000)]))
    first, second = epoch_clips(plan, 0), epoch_clips(plan, 1)
    assert np.array_equal(np.sort(first), np.arange(3000))
    assert np.array_equal(np.sort(second), np.arange(3000))
    assert not np.array_equal(first, second)
    assert not np.array_equal(
        first, epoch_clips(make_plan(Part(name="a", grids=[mixture(3000)]), seed=4), 0)
    )


def test_no_row_is_over_its_capacity_and_little_is_padding():
    """Each limit binds: there are rows full of tokens, of latent frames and of clips."""
    grids, size = mixture(3000), dataclasses.replace(SIZE, frames=40, clips=9)
    plan = make_plan(Part(name="a", grids=[grids]), filler=PackedRows(size))
    tokens, rows = grids.prod(axis=1, dtype=int), plan.epoch_start(1)
    full = set()
    held = 0
    for row in range(rows):
        clips = [place.clip for place in plan.row(row)]
        used = dict(tokens=tokens[clips].sum(), frames=grids[clips, 0].sum(), clips=len(clips))
        for name, value in used.items():
            assert 0 < value <= getattr(size, name)
            full |= {name} if value == getattr(size, name) else set()
        held += used["tokens"]
    assert full == {"tokens", "frames", "clips"}
    assert plan.padding_share == pytest.approx(1 - held / (rows * SIZE.tokens))
    assert make_plan(Part(name="a", grids=[grids])).padding_share < 0.06


def one_by_one(tokens, capacity):
    """Best fit as the textbook has it: largest first, each into the fullest row that takes it."""
    free = []
    for size in sorted(tokens, reverse=True):
        fits = [number for number, left in enumerate(free) if left >= size]
        if fits:
            free[min(fits, key=lambda number: free[number])] -= size
        else:
            free.append(capacity - size)
    return free


def test_counting_by_class_gives_the_rows_of_best_fit():
    grids = mixture(400)
    roomy = dataclasses.replace(SIZE, frames=10**5, clips=10**5)
    filler = PackedRows(roomy)
    keys, counts = np.unique(filler.keys(grids), return_counts=True)
    patterns = filler.fill(keys, counts)
    free = one_by_one(grids.prod(axis=1, dtype=int).tolist(), SIZE.tokens)
    tokens = keys >> 20
    held = collections.Counter()
    for pattern in patterns:
        held[SIZE.tokens - sum(int(tokens[c]) * k for c, k in pattern.clips)] += pattern.rows
    assert held == collections.Counter(free)


def test_any_row_is_found_without_those_before():
    whole = make_plan(Part(name="a", grids=[mixture(500)]))
    rows = [whole.row(i) for i in range(300)]
    for row in (299, 7, 150):
        fresh = make_plan(Part(name="a", grids=[mixture(500)]))
        assert fresh.row(row) == rows[row]
        assert len(fresh._epochs) == 1
    assert pickle.loads(pickle.dumps(whole)).row(299) == rows[299]


def test_shapes_that_take_turns_have_their_own_rows_and_no_clip_is_missed():
    """Epoch e has phase e mod 3; where it begins needs no epoch before it."""
    grids = [mixture(400, seed) for seed in range(3)]
    plan = make_plan(Part(name="a", grids=grids))
    for epoch in range(7):
        assert np.array_equal(np.sort(epoch_clips(plan, epoch)), np.arange(400))
        start = plan.epoch_start(epoch)
        assert plan.epoch_of(start) == epoch and plan.epoch_of(start - 1) == max(epoch - 1, -1)
        for row in range(start, start + 20):
            places = plan.row(row)
            assert all(place.phase == epoch % 3 for place in places)
            assert sum(int(grids[epoch % 3][p.clip].prod(dtype=int)) for p in places) <= SIZE.tokens
    assert len({plan.epoch_start(e + 1) - plan.epoch_start(e) for e in range(3)}) > 1


def test_a_share_of_tokens_is_kept_and_nothing_is_starved():
    """Images get a quarter of the tokens: each comes several times, each clip of video once."""
    images = np.tile(np.array([[1, 8, 8]]), (300, 1))
    videos = mixture(200)
    videos[:, 0] = np.maximum(videos[:, 0], 2)
    plan = make_plan(
        Part(name="images", grids=[images], share=0.25),
        Part(name="videos", grids=[videos], share=0.75),
    )
    tokens = np.concatenate([images, videos]).prod(axis=1, dtype=int)
    for epoch in range(2):
        clips = epoch_clips(plan, epoch)
        seen = np.bincount(clips, minlength=500)
        repeat = plan.repeats[0]
        assert plan.repeats[1] == 1 and repeat > 1
        assert set(seen[:300]) <= {int(repeat), int(repeat) + 1} and set(seen[300:]) == {1}
        assert tokens[clips[clips < 300]].sum() / tokens[clips].sum() == pytest.approx(
            0.25, abs=0.01
        )
    assert set(epoch_clips(plan, 0)[:50]) != set(epoch_clips(plan, 1)[:50])


def test_clips_that_fit_no_row_are_counted_by_reason():
    grids = np.array([[1, 8, 8], [1, 65, 64], [65, 1, 1], [0, 8, 8], [2, 8, 8]])
    plan = make_plan(Part(name="a", grids=[grids]))
    reasons = {reason: np.flatnonzero(bad).tolist() for reason, bad in plan.filtered[0].items()}
    assert reasons == {
        "no whole chunk or patch": [3],
        "over 4096 tokens": [1],
        "over 64 latent frames": [2],
    }
    assert plan.usable(0) == 2 and set(epoch_clips(plan, 0)) == {0, 4}


def test_a_stand_in_fits_the_place_and_is_another_clip():
    grids = mixture(300)
    plan = make_plan(Part(name="a", grids=[grids]))
    for row, slot in itertools.product(range(10), range(2)):
        places = plan.row(row)
        if slot >= len(places):
            continue
        own = places[slot]
        others = list(plan.stand_ins(row, slot))
        assert own not in others and len(set(others)) == len(others)
        alike = (grids.prod(axis=1, dtype=int) == grids[own.clip].prod(dtype=int)) & (
            grids[:, 0] == grids[own.clip, 0]
        )
        assert {place.clip for place in others} == set(np.flatnonzero(alike)) - {own.clip}


def test_buckets_hold_one_shape_and_every_clip_once():
    grids = mixture(700)
    plan = make_plan(Part(name="a", grids=[grids]), filler=Buckets(8))
    assert np.array_equal(np.sort(epoch_clips(plan, 0)), np.arange(700))
    sizes = []
    for row in range(plan.epoch_start(1)):
        clips = [place.clip for place in plan.row(row)]
        assert len({tuple(grids[clip]) for clip in clips}) == 1
        sizes.append(len(clips))
    # Only the last group of each shape may be smaller.
    assert sum(size < 8 for size in sizes) <= len({tuple(grid) for grid in grids})


def test_bad_plans_are_refused():
    grids = mixture(20)
    with pytest.raises(UsageError, match="no clip of big fits a row"):
        make_plan(Part(name="big", grids=[np.array([[64, 64, 64]])]))
    with pytest.raises(UsageError, match="shares are"):
        make_plan(Part(name="a", grids=[grids], share=1), Part(name="b", grids=[grids]))
    with pytest.raises(UsageError, match="has no clip"):
        make_plan(Part(name="a", grids=[grids[:0]]))
    with pytest.raises(UsageError, match="one number of views"):
        make_plan(Part(name="a", grids=[grids] * 2), Part(name="b", grids=[grids] * 3))
    with pytest.raises(LimitError, match="b has too few for a share"):
        make_plan(
            Part(name="a", grids=[mixture(1000)], share=1e-9),
            Part(name="b", grids=[grids], share=1),
        )
    with pytest.raises(UsageError, match="row of 0 tokens"):
        fill.check_size(dataclasses.replace(SIZE, tokens=0))


def test_a_filler_that_loses_a_clip_is_caught():
    """The control of the tests above: the plan counts what its filler gives back."""

    class Lossy(PackedRows):
        def fill(self, keys, counts):
            first, *rest = super().fill(keys, counts)
            return [Pattern(first.rows - 1, first.clips), *rest]

    with pytest.raises(AssertionError, match="left clips out"):
        make_plan(Part(name="a", grids=[mixture(300)]), filler=Lossy(SIZE))
