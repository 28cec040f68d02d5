"""If these fail, the optimizer is another one than the recipes were found with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax.sharding import mesh as meshes
from sora_jax.train import muon
from sora_jax.train.optimizer import OptimizerConfig, make_optimizer

SHAPES = {"up": (3, 8, 16), "down": (3, 16, 8), "square": (2, 8, 8), "one": (8, 16)}


def matrices(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: jnp.float32(rng.normal(size=shape)) for name, shape in SHAPES.items()}


def test_updates_are_those_of_optax():
    """Stacking matrices of a shape changes no number; optax takes them one at a time."""
    numbers = jax.tree.map(
        lambda x: optax.contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1), matrices(0)
    )
    ours = muon.muon(0.02, 4)
    theirs = optax.contrib.muon(
        0.02, ns_steps=4, preconditioning="aol", muon_weight_dimension_numbers=numbers
    )
    params = matrices(9)
    states = ours.init(params), theirs.init(params)
    for seed in range(3):
        grads = matrices(seed)
        a, first = ours.update(grads, states[0], params)
        b, second = theirs.update(grads, states[1], params)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-6), a, b)
        states = first, second


def test_a_stack_is_divided_over_all_devices():
    """Each device makes other matrices orthogonal; the filling is cut off again."""
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=2, context=2, tensor=2))
    tree, seen = {"a": jnp.ones((6, 4, 8)), "b": jnp.ones((3, 8, 4))}, []

    def spread(stack):
        out = meshes.spread(mesh, stack)
        jax.debug.inspect_array_sharding(out, callback=lambda s: seen.append((s, out.shape)))
        return out

    out = jax.jit(lambda tree: muon.orthogonal(tree, 3, spread))(tree)
    assert jax.tree.map(jnp.shape, out) == {"a": (6, 4, 8), "b": (3, 8, 4)}
    [(sharding, shape)] = seen
    assert shape == (16, 4, 8) and sharding.shard_shape(shape) == (2, 4, 8)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_moments_may_be_kept_in_half_the_bytes(name):
    """bfloat16 state, float32 sums: updates stay within its rounding of the float32 ones."""
    params = {"blocks": {"up": {"kernel": jnp.ones((2, 4, 8))}}, "bias": jnp.ones(8)}
    updates = {}
    for dtype in ("float32", "bfloat16"):
        tx = make_optimizer(OptimizerConfig(name=name, state_dtype=dtype))
        state = tx.init(params)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            grads = jax.tree.map(lambda x, rng=rng: jnp.float32(rng.normal(size=x.shape)), params)
            updates[dtype], state = tx.update(grads, state, params)
        floats = {x.dtype.name for x in jax.tree.leaves(state) if x.ndim}
        assert floats == {dtype}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=0.02 * float(jnp.abs(a).max())),
        *updates.values(),
    )
