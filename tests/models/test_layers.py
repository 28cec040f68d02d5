"""Layers against what they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import layers


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    sides = kernel.reshape(3, 3, x.shape[-1], -1)
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, sides, (1, 1), "SAME", dimension_numbers=numbers)


@pytest.mark.parametrize("size", [(8, 6), (5, 7), (1, 1), (2, 3)])
def test_winograd_is_the_convolution_with_its_gradients(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 6))
    kernel = jax.random.normal(jax.random.key(1), (9 * 6, 5)) / 7
    weights = jax.random.normal(jax.random.key(2), (2, *size, 5))

    @functools.partial(jax.jit, static_argnums=0)
    def both(function, x, kernel):
        out, back = jax.vjp(function, x, kernel)
        return out, *back(weights)

    pairs = zip(both(layers.winograd, x, kernel), both(convolution, x, kernel), strict=True)
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    wrong = layers.winograd(x, kernel.reshape(3, 3, 6, 5).swapaxes(0, 1).reshape(54, 5))
    assert jnp.abs(wrong - convolution(x, kernel)).max() > 0.1 or size == (1, 1)
