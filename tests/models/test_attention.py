"""If these fail, attention is not what its formula says: in one piece, in chunks, or joined."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import attention
from sora_jax.models.attention import Keys, Queries
from sora_jax.train import flops

ROWS, LENGTH, WORDS, HEADS, WIDTH = 2, 16, 4, 2, 8


@pytest.fixture
def row(key):
    """Two rows of clips, padding, and captions of which some cover only some of the time."""
    keys = jax.random.split(key, 5)
    segment = jnp.array(np.repeat([[0, 1, -1, 2], [0, 0, 1, -1]], LENGTH // 4, 1))
    return types.SimpleNamespace(
        arrays=[
            jax.random.normal(k, (ROWS, WORDS if i > 2 else LENGTH, HEADS, WIDTH))
            for i, k in enumerate(keys)
        ],
        segment=segment,
        seconds=jnp.tile(jnp.arange(LENGTH) / 4.0, (ROWS, 1)),
        text_segment=jnp.array([[0, 1, 2, -3]] * ROWS),
        span=jnp.tile(jnp.array([[0.0, 0.5], [1, 9], [0, 9], [0, 9]]), (ROWS, 1, 1)),
    )


def written_out(row, q, k, v, text_k, text_v):
    """Softmax of all logits at once, rules as a matrix."""
    rules = [
        attention.segment_bias(row.segment, row.segment),
        attention.segment_bias(row.segment, row.text_segment)
        + attention.span_bias(row.seconds, row.span),
    ]
    logits = jnp.einsum("blnk,bmnk->bnlm", q, jnp.concatenate([k, text_k], 1)) * WIDTH**-0.5
    weights = jax.nn.softmax(logits + jnp.concatenate(rules, -1)[:, None], -1)
    return jnp.einsum("bnlm,bmnk->blnk", weights, jnp.concatenate([v, text_v], 1))


def attended(row, q, k, v, text_k, text_v, attend=attention.attend):
    return attend(
        Queries(q=q, segment=row.segment, seconds=row.seconds),
        Keys(k=k, v=v, segment=row.segment),
        Keys(k=text_k, v=text_v, segment=row.text_segment, span=row.span),
    )


@pytest.mark.parametrize("logits", [2**22, 2**8])
def test_values_and_gradients_are_those_of_the_formula(row, monkeypatch, logits):
    """Whole and in chunks of the queries; of q, k, v and of the text's k, v."""
    monkeypatch.setattr(attention, "CHUNK_LOGITS", logits)
    found, expected = (
        jax.value_and_grad(
            lambda *arrays, fn=fn: jnp.sum(jnp.sin(fn(row, *arrays))), argnums=range(5)
        )(*row.arrays)
        for fn in (attended, written_out)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)


def test_kept_weights_give_the_same_as_those_made_again(row):
    """Also of logits whose exponentials no float32 holds, and in bfloat16 to its rounding."""
    large = (40 * row.arrays[0], *row.arrays[1:])
    short = tuple(x.astype(jnp.bfloat16) for x in row.arrays)
    for arrays, atol in ((row.arrays, 2e-5), (large, 2e-4), (short, 0.04)):
        found, expected = (
            jax.vjp(lambda *a, fn=fn: fn(row, *a), *arrays)
            for fn in (functools.partial(attended, attend=attention.attend_alone), attended)
        )
        grad = jnp.cos(jnp.arange(found[0].size, dtype=arrays[0].dtype)).reshape(found[0].shape)
        jax.tree.map(
            lambda a, b, atol=atol: np.testing.assert_allclose(
                a.astype(jnp.float32), b.astype(jnp.float32), atol=atol
            ),
            (found[0], found[1](grad)),
            (expected[0], expected[1](grad)),
        )


def test_a_short_row_keeps_weights_and_a_long_one_does_not(row, monkeypatch):
    """What is kept beyond the operands: one layer's logits, or nothing of their size."""

    def largest_kept() -> int:
        _, pull = jax.eval_shape(
            lambda *a: jax.vjp(lambda *b: attended(row, *b, attend=attention.attend_alone), *a),
            *row.arrays,
        )
        return max(leaf.size for leaf in jax.tree.leaves(pull))

    logits = ROWS * HEADS * LENGTH * (LENGTH + WORDS)
    assert largest_kept() == logits
    monkeypatch.setattr(attention, "KEPT_LOGITS", logits - 1)
    assert largest_kept() < logits


def test_under_remat_only_weights_are_made_again(row, monkeypatch):
    """As many products as where they never are kept, but for their sums (1 value beside 8)."""
    policy = jax.checkpoint_policies.save_only_these_names("attention")

    def products() -> int:
        @functools.partial(jax.checkpoint, policy=policy)  # anew, or what was traced is used again
        def layer(*arrays):
            return jnp.sin(attended(row, *arrays, attend=attention.attend_alone))

        gradient = jax.grad(lambda *arrays: jnp.sum(layer(*arrays)), argnums=range(5))
        return flops.matmul_flops(gradient, *row.arrays)

    keeping = products()
    monkeypatch.setattr(attention, "KEPT_LOGITS", 0)
    one = 2 * ROWS * HEADS * LENGTH * (LENGTH + WORDS)
    assert keeping == products() + one


def test_parts_joined_are_the_whole(row):
    """Attention over two halves of the keys, joined by their log sums: what a ring does."""
    q, k, v = row.arrays[:3]
    queries = Queries(q=q, segment=row.segment)

    def part(at: slice):
        return Keys(k=k[:, at], v=v[:, at], segment=row.segment[:, at])

    whole = attention.XLA.forward(queries, (part(slice(None)),))
    halves = [attention.XLA.forward(queries, (part(slice(i, i + 8)),)) for i in (0, 8)]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), attention.join(*halves), whole
    )
