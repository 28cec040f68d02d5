"""The few layers everything is built of. Each names the logical axes of its parameters."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax.arrays import Array, Float

type Names = tuple[str | None, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: Float[Array, "*b i"], kernel: Float[Array, "i o"], dtype: str) -> Array:
    """`x @ kernel` for `x` in `dtype`: operands in `dtype` both ways, sums in float32.

    JAX differentiates a bfloat16 product with float32 cotangents, which runs at float32 speed:
    casting the cotangent is worth a factor of two on the backward products.
    """
    out = jnp.dot(x, kernel.astype(dtype), preferred_element_type=jnp.float32)
    return out.astype(dtype)


def _matmul_forward(x, kernel, dtype):
    return matmul(x, kernel, dtype), (x, kernel)


def _matmul_backward(dtype, saved, grad):
    x, kernel = saved
    grad = grad.astype(dtype)
    dx = jnp.dot(grad, kernel.astype(dtype).T, preferred_element_type=jnp.float32).astype(dtype)
    rows, cols = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    dkernel = jnp.dot(rows.T, cols, preferred_element_type=jnp.float32)
    return dx, dkernel.astype(kernel.dtype)


matmul.defvjp(_matmul_forward, _matmul_backward)


class Dense(nnx.Module):
    """Affine map of the last dim; float32 parameters, products in `dtype`."""

    def __init__(
        self,
        size: tuple[int, int],
        names: Names,
        *,
        rngs: nnx.Rngs,
        dtype: str,
        scale: float = 1.0,
        bias: bool = True,
    ):
        spread = scale / math.sqrt(size[0])
        kernel = spread * jax.random.truncated_normal(rngs.params(), -2, 2, size, jnp.float32)
        self.kernel = nnx.Param(kernel, out_sharding=names)
        self.bias = nnx.Param(jnp.zeros(size[1]), out_sharding=names[1:]) if bias else None
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*b i"]) -> Array:
        out = matmul(x.astype(self.dtype), self.kernel[...], self.dtype)
        return out if self.bias is None else out + self.bias[...].astype(out.dtype)


class Conv(nnx.Module):
    """3x3 convolution of B H W C, stride 1, zero padding, as products; never a strided one.

    In float32 nine products of shifted pictures are added up. In a shorter dtype the nine pictures
    stand side by side in one product, whose sums are float32: so the backward pass is that of
    `matmul`, with cotangents in the compute dtype.
    """

    def __init__(
        self, size: tuple[int, int], names: Names, *, rngs: nnx.Rngs, dtype: str, scale: float = 1.0
    ):
        spread = scale / math.sqrt(9 * size[0])
        shape = (9 * size[0], size[1])
        kernel = spread * jax.random.truncated_normal(rngs.params(), -2, 2, shape, jnp.float32)
        self.kernel = nnx.Param(kernel, out_sharding=names)
        self.bias = nnx.Param(jnp.zeros(size[1]), out_sharding=names[1:])
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B H W C"]) -> Array:
        height, width = x.shape[1:3]
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        near = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        kernel, bias = self.kernel[...], self.bias[...].astype(self.dtype)
        if self.dtype == "float32":  # twice as fast on a CPU, and a ninth of the memory
            parts = jnp.split(kernel, 9)
            return sum((x @ part for x, part in zip(near, parts, strict=True)), bias)
        return matmul(jnp.concatenate(near, -1), kernel, self.dtype) + bias


def rms_norm(x: Float[Array, "*b D"]) -> Array:
    """Divide by the root mean square over the last dim, in float32; no parameters."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + 1e-6)).astype(x.dtype)


def squared_relu(x: Array) -> Array:
    """max(x, 0)^2 (So et al. 2021, Primer)."""
    return jnp.square(jax.nn.relu(x))


def fourier(x: Float[Array, "*b"], low: float, high: float, num: int) -> Array:
    """Sine and cosine of `x` at `num` periods from `high` down to `low`: *b -> *b 2num."""
    periods = low * (high / low) ** jnp.linspace(1.0, 0.0, num)
    angle = 2 * jnp.pi * x[..., None].astype(jnp.float32) / periods
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
