"""Forms of a 3x3 convolution on this CPU, in float32: ms forward, and with both gradients.

    python -m benchmarks.convolution

One core. `winograd` is what `models.layers.Conv` does in float32. `error` is the largest difference
from a convolution in float64, for outputs of variance 1.
"""

import os
import sys
import time
from collections.abc import Callable

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from sora_jax.arrays import Array  # noqa: E402
from sora_jax.models import layers  # noqa: E402

SHAPES = ((16, 16, 16, 128), (16, 8, 8, 192), (16, 32, 32, 64))
ROUNDS = 15


def _shifted(x: Array) -> list[Array]:
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def one_product(x: Array, kernel: Array) -> Array:
    return jnp.concatenate(_shifted(x), -1) @ kernel


def nine_products(x: Array, kernel: Array) -> Array:
    parts = jnp.split(kernel, 9)
    return sum((x @ part for x, part in zip(_shifted(x), parts, strict=True)), jnp.zeros(()))


def xla(x: Array, kernel: Array) -> Array:
    sides = kernel.reshape(3, 3, x.shape[-1], -1)
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, sides, (1, 1), "SAME", dimension_numbers=numbers)


FORMS: tuple[Callable[[Array, Array], Array], ...] = (
    one_product,
    nine_products,
    xla,
    layers.winograd,
)


def main() -> int:
    """Print a line for each shape and form."""
    for shape in SHAPES:
        width = shape[-1]
        x = jax.random.normal(jax.random.key(0), shape)
        kernel = jax.random.normal(jax.random.key(1), (9 * width, width)) / (9 * width) ** 0.5
        exact = sum(
            np.asarray(part, np.float64) @ weights
            for part, weights in zip(
                _shifted(x), np.split(np.asarray(kernel, np.float64), 9), strict=True
            )
        )
        calls = []
        for form in FORMS:
            forward = jax.jit(form)
            loss = lambda x, kernel, form=form: jnp.sum(jnp.square(form(x, kernel)))  # noqa: E731
            calls.append((forward, jax.jit(jax.grad(loss, (0, 1)))))
        times = np.array([[_seconds(call, x, kernel) for call in pair] for pair in calls])
        for form, pair, (forward, both) in zip(FORMS, calls, 1e3 * times, strict=True):
            error = np.abs(np.asarray(pair[0](x, kernel)) - exact).max()
            print(f"{shape}  {form.__name__:<14} {forward:7.1f} {both:7.1f}   error {error:.1e}")
    return 0


def _seconds(call: Callable[[Array, Array], Array], x: Array, kernel: Array) -> float:
    jax.block_until_ready(call(x, kernel))
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        jax.block_until_ready(call(x, kernel))
        found.append(time.perf_counter() - start)
    return min(found)


if __name__ == "__main__":
    sys.exit(main())
