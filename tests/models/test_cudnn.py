"""cuDNN's attention against the XLA reference: the same call, computed by XLA where no GPU is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.models import attention, cudnn, splash
from sora_jax.models.attention import Keys, Queries
from sora_jax.sharding import context
from sora_jax.sharding import mesh as meshes

CALL = cudnn.on("cpu", "float32")


def row(length: int, seed: int) -> tuple[Queries, Keys, Keys]:
    """Two rows of three packed clips each; text with spans."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    segment = jnp.asarray(np.sort(rng.integers(0, 3, (2, length))), jnp.int32)
    queries = Queries(q=draw(2, length, 2, 16), segment=segment, seconds=draw(2, length))
    keys = Keys(k=draw(2, length, 2, 16), v=draw(2, length, 2, 16), segment=segment)
    text = Keys(
        k=draw(2, 6, 2, 16),
        v=draw(2, 6, 2, 16),
        segment=jnp.tile(jnp.arange(6) // 2, (2, 1)),
        span=jnp.tile(jnp.array([[0.0, 9.0], [-9.0, 0.0]]), (2, 3, 1)),
    )
    return queries, keys, text


@pytest.mark.parametrize("has_text", [False, True])
def test_values_and_gradients_are_those_of_the_reference(has_text):
    """With segments and spans; clips that share a row do not see each other."""
    queries, keys, text = row(32, seed=0)
    weight = jax.random.normal(jax.random.key(1), queries.q.shape)

    def loss(backend: attention.Backend, arrays):
        q, k, v, text_k, text_v = arrays
        words = dataclasses.replace(text, k=text_k, v=text_v) if has_text else None
        out = attention.attend_by(
            backend, dataclasses.replace(queries, q=q), dataclasses.replace(keys, k=k, v=v), words
        )
        return jnp.sum(out * weight)

    arrays = queries.q, keys.k, keys.v, text.k, text.v
    wanted, ours = (
        jax.jit(jax.value_and_grad(lambda x, b=backend: loss(b, x)))(arrays)
        for backend in (attention.XLA, CALL)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5), ours, wanted)


def test_another_clip_of_the_row_changes_nothing():
    queries, keys, _ = row(24, seed=2)
    out = attention.attend_by(CALL, queries, keys)
    last = (keys.segment == keys.segment.max())[..., None, None]
    other = dataclasses.replace(keys, k=jnp.where(last, 5.0, keys.k))
    changed = np.any(out != attention.attend_by(CALL, queries, other), (2, 3))
    np.testing.assert_array_equal(changed, np.asarray(last[..., 0, 0]))


@pytest.mark.parametrize(
    ("platform", "dtype", "said"),
    [("tpu", "bfloat16", "on TPU use splash"), ("gpu", "float32", "not in float32")],
)
def test_what_cudnn_has_not_is_refused_with_the_remedy(platform, dtype, said):
    with pytest.raises(UsageError, match=said):
        cudnn.on(platform, dtype)


def test_splash_on_a_gpu_is_refused_and_not_interpreted():
    with pytest.raises(UsageError, match="on NVIDIA GPUs use cudnn"):
        splash.on("gpu", "NVIDIA H100 80GB HBM3")


def test_a_ring_is_refused():
    mesh = meshes.make_mesh(meshes.MeshConfig(context=4))
    with pytest.raises(UsageError, match="ring is 2; set it to 1"):
        context.make_layout(mesh, context.AttentionConfig(backend="cudnn", ring=2), "bfloat16")
