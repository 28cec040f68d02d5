"""Digests see every bit, and only the numbers: not the mesh, not the container."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.sharding import mesh as meshes
from sora_jax.train.digest import digests


def flipped(array: np.ndarray, bit: int) -> np.ndarray:
    raw = np.frombuffer(array.tobytes(), np.uint8).copy()
    raw[bit // 8] ^= 1 << (bit % 8)
    return np.frombuffer(raw.tobytes(), array.dtype).reshape(array.shape)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint32", "int8"])
def test_every_single_flipped_bit_changes_both_sums(dtype):
    values = np.asarray(jax.random.normal(jax.random.key(0), (3, 5)) * 50).astype(jnp.dtype(dtype))
    bits = 8 * values.nbytes
    damaged = np.stack([flipped(values, bit) for bit in range(bits)])
    found = np.array([digests({"x": x})["x"] for x in damaged[:: max(1, bits // 60)]])
    assert (found != digests({"x": values})["x"]).all()


def test_order_counts_but_the_mesh_does_not():
    values = jax.random.normal(jax.random.key(1), (16, 8))
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=4, tensor=2))
    names = meshes.P("embed", "mlp")
    sharding = meshes.param_shardings(mesh, {"x": values}, {"x": names})["x"]
    assert digests({"x": jax.device_put(values, sharding)}) == digests({"x": values})
    assert digests({"x": values[::-1]}) != digests({"x": values})
    assert digests({"x": values.T}) != digests({"x": values})
    assert digests({"x": jnp.roll(values, 1, 1)}) != digests({"x": values})


def test_negative_zero_is_another_number():
    assert digests({"x": jnp.array([0.0])}) != digests({"x": jnp.array([-0.0])})
