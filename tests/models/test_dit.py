"""The transformer: what a clip may depend on, and what it may not."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.data.packing import Clip, RowSize, pack
from sora_jax.errors import LimitError
from sora_jax.models import network, patchify, rope
from sora_jax.models.dit import DiTConfig
from sora_jax.models.stack import scan_blocks, stack
from sora_jax.train.objectives import build_canvas
from tests.tiny_model import tiny_parts

PATCH = (1, 1, 1)


@pytest.fixture(scope="module")
def tiny():
    parts = tiny_parts()
    return types.SimpleNamespace(
        model=parts["model"], params=jax.tree.map(jnp.asarray, parts["params"]["dit"])
    )


def make_clip(seed: int, chunks: int = 2, side: int = 2, words: int = 3) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        latents=rng.normal(size=(chunks, side, side, 4)).astype(np.float32),
        fps=8.0,
        size=(side * 8, side * 8),
        text=rng.integers(2, 200, words).astype(np.int32),
        text_span=np.tile(np.float32([0, 1e6]), (words, 1)),
        sample_id=seed,
    )


def run(tiny, rows, size, change=lambda canvas: canvas):
    batch = jax.tree.map(jnp.asarray, pack(rows, size, PATCH))
    known = jnp.zeros(batch["segment"].shape, bool)
    drop = jnp.zeros(batch["sample_id"].shape, bool)
    canvas = change(build_canvas(batch, known, drop, tiny.model.known_bits))
    sigma = 0.3 + 0.1 * canvas.frame_seconds
    return np.asarray(network.apply_dit(tiny.model, tiny.params, batch["tokens"], sigma, canvas))


def test_a_clip_is_the_same_alone_and_packed_first_or_last(tiny):
    """Attention, modulation, text and positions stay within the clip."""
    a, b = make_clip(1), make_clip(2, chunks=3, words=5)
    size = RowSize(tokens=24, frames=6, text=10, clips=2)
    alone = run(tiny, [[a]], size)[0, :8]
    first = run(tiny, [[a, b]], size)[0, :8]
    last = run(tiny, [[b, a]], size)[0, 12:20]
    np.testing.assert_allclose(first, alone, atol=1e-5)
    np.testing.assert_allclose(last, alone, atol=1e-5)


def test_another_clip_in_the_row_would_show_without_segments(tiny):
    """The control of the test above: with one segment for all, the neighbour changes the clip."""
    a, b = make_clip(1), make_clip(2, chunks=3, words=5)
    size = RowSize(tokens=24, frames=6, text=10, clips=2)

    def merge(canvas):
        return canvas.replace(segment=jnp.zeros_like(canvas.segment))

    alone, mixed = run(tiny, [[a]], size)[0, :8], run(tiny, [[a, b]], size, merge)[0, :8]
    assert np.abs(alone - mixed).max() > 1e-3


def test_padding_text_is_not_read(tiny):
    """Ids of 0 behind a caption change nothing, however many there are."""
    a = make_clip(1)
    short = run(tiny, [[a]], RowSize(tokens=8, frames=2, text=3))
    long = run(tiny, [[a]], RowSize(tokens=8, frames=2, text=9))
    np.testing.assert_allclose(long, short, atol=1e-5)


def test_a_caption_weighs_most_where_its_span_is(tiny):
    """Changing a caption of the first half moves the first half's tokens most."""
    clip = make_clip(1, chunks=4, words=6)
    span = np.float32([[0, 1.0]] * 3 + [[1.0, 2.0]] * 3)
    clip = dataclasses.replace(clip, text_span=span)
    other = dataclasses.replace(clip, text=np.r_[clip.text[:3] + 7, clip.text[3:]])
    size = RowSize(tokens=16, frames=4, text=6)
    gap = np.abs(run(tiny, [[clip]], size) - run(tiny, [[other]], size))[0].mean(-1)
    assert gap[:8].mean() > 2 * gap[8:].mean()


def test_known_and_cond_start_without_weight():
    """A text-to-video checkpoint upgrades without loss: their input kernels are 0 at the start."""
    parts = tiny_parts()
    params = network.init(network.Denoiser, parts["model"], jax.random.key(0))
    for name in ("cond", "known"):
        assert not np.any(params["dit"][name]["kernel"])
    assert np.any(params["dit"]["input"]["kernel"])


def test_each_parameter_names_all_its_dims(tiny):
    """Stacking layers drops the axis names of jax.vmap; `stack` puts them back."""
    _, abstract, names = network.graph(network.Denoiser, tiny.model)
    flat = zip(jax.tree.leaves(abstract), jax.tree.leaves(names), strict=True)
    assert all(len(spec) == len(leaf.shape) for leaf, spec in flat)
    assert tuple(names["dit"]["blocks"]["up"]["kernel"]) == ("layers", "embed", "mlp")


def test_scanned_layers_equal_a_python_loop(key):
    """`scan_blocks` applies the blocks in order, each with its own parameters, remat or not."""
    from flax import nnx

    from sora_jax.models.layers import Dense

    def make(rngs):
        return Dense((4, 4), ("embed", "mlp"), rngs=rngs, dtype="float32")

    with nnx.use_eager_sharding(False):
        blocks = stack(make, 3, nnx.Rngs(params=key))
    x = jax.random.normal(key, (2, 4))
    expected = x
    for i in range(3):
        expected = jnp.tanh(expected @ blocks.kernel[...][i] + blocks.bias[...][i])
    for remat in ("none", "products", "block"):
        got = scan_blocks(lambda block, y: jnp.tanh(block(y)), blocks, x, remat=remat)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_what_is_kept_for_the_way_back_is_not_computed_again(key):
    """Of three products a block: none and products have as many on the way back, block more."""
    from flax import nnx

    from sora_jax.models.layers import Dense

    with nnx.use_eager_sharding(False):
        blocks = stack(
            lambda rngs: Dense((4, 4), ("embed", "mlp"), rngs=rngs, dtype="float32"),
            3,
            nnx.Rngs(params=key),
        )
    graph, params = nnx.split(blocks)

    def products(remat):
        def loss(params, x):
            blocks = nnx.merge(graph, params)
            body = lambda block, y: y + jnp.tanh(block(jnp.tanh(block(y))))  # noqa: E731
            return jnp.sum(scan_blocks(body, blocks, x, remat=remat) ** 2)

        lowered = jax.jit(jax.grad(loss)).lower(params, jnp.ones((2, 4)))
        return lowered.as_text().count("dot_general")

    assert products("none") == products("products") < products("block")


def test_rotary_products_depend_on_distance_alone(key):
    """q(a) . k(b) is the same when both positions move by the same amount, in each axis."""
    q, k = jax.random.normal(key, (2, 1, 5, 2, 12))
    position = jax.random.normal(key, (1, 5, 3))

    def products(shift):
        turned = rope.rotation(
            position + jnp.array(shift), 12, ((1.0, 16.0), (0.5, 8.0), (0.5, 8.0))
        )
        return jnp.einsum("blnk,bmnk->bnlm", rope.rotate(q, turned), rope.rotate(k, turned))

    np.testing.assert_allclose(products([0.3, -0.7, 2.0]), products([0.0, 0, 0]), atol=1e-4)
    assert np.abs(products([0.0, 0, 0]) - jnp.einsum("blnk,bmnk->bnlm", q, k)).max() > 0.1


def test_angles_are_turned_into_cosines_once_for_all_layers():
    """Layers one after the other use the same arrays; XLA would take them anew in each."""

    def cosines(depth):
        def loss(x, position):
            turned = rope.rotation(position, 8, ((1.0, 16.0),) * 3)
            for _ in range(depth):
                x = jnp.tanh(rope.rotate(x, turned))
            return jnp.sum(x)

        shapes = jnp.ones((2, 16, 2, 8)), jnp.ones((2, 16, 3))
        return jax.jit(jax.grad(loss)).lower(*shapes).compile().as_text().count(" cosine(")

    assert cosines(4) == cosines(1) > 0


@pytest.mark.parametrize("patch", [(1, 1, 1), (1, 2, 2), (2, 1, 2)])
def test_patches_round_trip(patch, key):
    latents = jax.random.normal(key, (2, 4, 4, 6, 3))
    grid = (4 // patch[0], 4 // patch[1], 6 // patch[2])
    tokens = patchify.to_tokens(latents, patch)
    assert tokens.shape == (2, np.prod(grid), 3 * np.prod(patch))
    np.testing.assert_array_equal(patchify.from_tokens(tokens, grid, patch), latents)


def test_a_row_that_is_too_small_is_an_error():
    with pytest.raises(LimitError, match="a row takes 7 tokens and these clips need 8"):
        pack([[make_clip(1)]], RowSize(tokens=7, frames=2, text=3), PATCH)


def test_an_odd_head_width_is_an_error():
    with pytest.raises(ValueError, match="num_heads 4"):
        DiTConfig(width=20, depth=1, num_heads=4)
