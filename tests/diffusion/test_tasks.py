"""If these fail, the model is not trained for the tools that are built on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.data.geometry import clip_geometry
from sora_jax.diffusion.canvas import MIN_CHUNKS, TASKS, TaskShares, draw_task, known_mask

NUM = 400

# One program for all tasks of a grid: the task number is traced, as it is in training.
_draw = jax.jit(jax.vmap(known_mask, in_axes=(0, None, None, None)))


def masks(task, grid=(5, 4, 6), *, extra=None):
    """Draw NUM masks, bool (NUM, n, h, w)."""
    index = clip_geometry(grid, fps=8.0, size=(32, 32)).index
    length = len(index)
    if extra is not None:
        index = np.concatenate([index, extra])
    keys = jax.random.split(jax.random.key(TASKS.index(task)), NUM)
    number = jnp.int32(TASKS.index(task))
    drawn = np.asarray(_draw(keys, number, jnp.array(index), jnp.array(grid)))
    assert drawn.dtype == bool
    return drawn[:, :length].reshape(NUM, *grid)


def by_chunk(task, grid=(5, 4, 6)):
    """Draw NUM rows of chunk bits, after checking that chunks are known whole."""
    drawn = masks(task, grid).reshape(NUM, grid[0], -1)
    assert np.all(drawn == drawn[..., :1])
    return drawn[..., 0]


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 4, 4), (2, 1, 3), (3, 2, 2), (7, 3, 1)])
@pytest.mark.parametrize("task", TASKS)
def test_something_is_always_left_to_make(task, grid):
    assert not masks(task, grid).reshape(NUM, -1).all(axis=1).any()


@pytest.mark.parametrize("task", [name for name in TASKS if name not in ("text", "random_frames")])
def test_something_is_given_to_clips_that_are_long_enough(task):
    assert masks(task).reshape(NUM, -1).any(axis=1).mean() > 0.9
    num_chunks = MIN_CHUNKS[TASKS.index(task)]
    if task != "box":
        assert masks(task, (num_chunks, 2, 2)).reshape(NUM, -1).any(axis=1).all()


def test_text_gives_nothing_and_first_the_first_chunk():
    assert not by_chunk("text").any()
    np.testing.assert_array_equal(by_chunk("first"), [[True] + [False] * 4] * NUM)


def test_prefix_and_suffix_have_all_lengths_alike():
    for task, order in (("prefix", 1), ("suffix", -1)):
        chunks = by_chunk(task)[:, ::order]
        assert np.all(np.diff(chunks.astype(int), axis=1) <= 0)
        counts = np.bincount(chunks.sum(axis=1), minlength=6)
        assert counts[0] == counts[5] == 0 and counts[1:5].min() > NUM / 4 * 0.7


def test_both_ends_are_given_around_one_gap():
    chunks = by_chunk("both_ends")
    assert chunks[:, 0].all() and chunks[:, -1].all()
    assert np.all((np.diff(chunks.astype(int), axis=1) == -1).sum(axis=1) == 1)
    # The gap lies neither towards the beginning nor towards the end.
    centre = [np.flatnonzero(~row).mean() for row in chunks]
    assert abs(np.mean(centre) - 2) < 0.15


def test_key_frames_are_one_to_four_anywhere():
    chunks = by_chunk("key_frames", (8, 2, 2))
    numbers = chunks.sum(axis=1)
    assert set(numbers) == {1, 2, 3, 4}
    assert (numbers == 1).mean() > 0.22  # one to four are asked for alike, some coincide
    assert chunks.mean(axis=0).min() > 0.15


def test_random_frames_are_any_set():
    chunks = by_chunk("random_frames", (3, 2, 2))
    assert len({tuple(row) for row in chunks}) == 7  # all but the full set


def test_boxes_are_given_from_inside_or_outside_for_all_or_some_chunks():
    drawn = masks("box")
    for mask in drawn:
        unknown = np.argwhere(~mask)
        inside = ~mask if is_box(unknown, mask) else mask
        assert is_box(np.argwhere(inside), mask)
    is_unknown_box = np.array([is_box(np.argwhere(~mask), mask) for mask in drawn])
    assert 0.3 < is_unknown_box.mean() < 0.8
    lasts = (drawn == drawn[:, :1]).all(axis=(1, 2, 3))
    assert 0.4 < lasts.mean() < 0.8


def is_box(points, mask):
    return np.prod(np.ptp(points, axis=0) + 1) == len(points) if len(points) else False


@pytest.mark.parametrize("task", TASKS)
def test_the_mask_does_not_depend_on_other_tokens_of_the_row(task):
    other = np.tile(np.int32([[9, 9, 9]]), (7, 1))
    np.testing.assert_array_equal(masks(task), masks(task, extra=other))


def test_tasks_have_their_shares():
    shares = TaskShares()
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.vmap(lambda key: draw_task(key, shares))(keys))
    wanted = np.array(dataclasses.astuple(shares))
    counts = np.bincount(drawn, minlength=len(TASKS)) / len(drawn)
    np.testing.assert_allclose(counts, wanted / wanted.sum(), atol=0.015)


def test_a_share_of_zero_never_comes():
    shares = TaskShares(text=0.0, box=0.0)
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = set(np.asarray(jax.vmap(lambda key: draw_task(key, shares))(keys)).tolist())
    assert drawn == set(range(1, len(TASKS) - 1))


def test_impossible_shares_are_refused():
    with pytest.raises(ValueError, match="negative"):
        TaskShares(text=-0.1)
    with pytest.raises(ValueError, match="all be 0"):
        TaskShares(**dict.fromkeys(TASKS, 0.0))
