"""The transformer's loss: what a clip's loss may depend on, and what is counted."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.data.packing import Clip, RowSize, pack
from sora_jax.diffusion.canvas import TaskShares
from sora_jax.train.objectives import DiffusionConfig, build_canvas, dit_objective
from tests.tiny_model import tiny_parts

PARTS = tiny_parts()
MODEL, PARAMS = PARTS["model"], jax.tree.map(jnp.asarray, PARTS["params"]["dit"])
PATCH = (1, 1, 1)
ALONE = RowSize(tokens=24, frames=6, text=10, clips=1)
TOGETHER = RowSize(tokens=24, frames=6, text=10, clips=2)


def make_clip(seed: int, chunks: int, words: int, needs_first: bool = False) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        latents=rng.normal(size=(chunks, 2, 2, 4)).astype(np.float32),
        fps=8.0,
        size=(16, 16),
        text=rng.integers(2, 200, words).astype(np.int32),
        text_span=np.tile(np.float32([0, 1e6]), (words, 1)),
        sample_id=seed,
        needs_first=needs_first,
    )


@functools.cache
def compiled():
    """The loss and its gradient; compiled once for each shape of rows."""
    # The weight sets the size of the gradient, and with it what rounding is in 1e-5.
    loss_fn = dit_objective(MODEL, DiffusionConfig(weight_clip=4.0))
    return jax.jit(jax.value_and_grad(lambda params, batch, key: loss_fn(params, batch, key)[0]))


def loss_and_grads(rows, size, key):
    batch = jax.tree.map(jnp.asarray, pack(rows, size, PATCH))
    return compiled()(PARAMS, batch, key)


@pytest.mark.parametrize("seed", range(6))
def test_clips_that_share_a_row_have_the_loss_and_gradients_they_have_alone(seed):
    """Task, noise, levels, drop-out and attention of a clip do not know its neighbours."""
    a, b = make_clip(10 + seed, 2, 3), make_clip(20 + seed, 4, 5)
    key = jax.random.key(seed)
    alone = loss_and_grads([[a], [b]], ALONE, key)
    for rows in ([[a, b]], [[b, a]]):
        packed = loss_and_grads(rows, TOGETHER, key)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-5, 1e-5), packed, alone)


def test_another_sample_id_is_another_draw():
    """The control: randomness does come from the sample id."""
    a = make_clip(1, 4, 3)
    key = jax.random.key(0)
    first, _ = loss_and_grads([[a]], ALONE, key)
    second, _ = loss_and_grads([[dataclasses.replace(a, sample_id=2)]], ALONE, key)
    assert abs(first - second) > 1e-3


def test_known_tokens_are_not_counted():
    """With everything but one chunk given, latents' errors elsewhere can't change the gradient."""
    a = make_clip(3, 4, 3, needs_first=True)
    train = DiffusionConfig(tasks=TaskShares(), drop_condition=0.0, drop_both=0.0, drop_text=0.0)
    batch = jax.tree.map(jnp.asarray, pack([[a]], ALONE, PATCH))
    known = dit_objective(MODEL, train)(PARAMS, batch, jax.random.key(0))[1]["known_share"]
    assert known == pytest.approx(4 / 24)  # the first chunk's 4 of the row's 24 tokens, always


def test_dropped_text_is_one_null_token_a_clip():
    a, b = make_clip(1, 2, 3), make_clip(2, 2, 5)
    batch = jax.tree.map(jnp.asarray, pack([[a, b]], TOGETHER, PATCH))
    known = jnp.zeros((1, 24), bool)
    canvas = build_canvas(batch, known, jnp.array([[True, False]]), MODEL.known_bits)
    np.testing.assert_array_equal(canvas.text[0, :3], [1, 0, 0])
    np.testing.assert_array_equal(canvas.text[0, 3:8], b.text)
    both = build_canvas(batch, known, jnp.array([[True, True]]), MODEL.known_bits)
    np.testing.assert_array_equal(both.text[0], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
