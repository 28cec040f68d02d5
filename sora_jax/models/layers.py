"""The few layers everything is built of. Each names the logical axes of its parameters."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

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
    """Affine map of the last dim; float32 parameters, products in `dtype`.

    `product` is how: a layout of several devices gives one that brings the kernel there.
    """

    product = staticmethod(matmul)

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
        out = self.product(x.astype(self.dtype), self.kernel[...], self.dtype)
        out = out if self.bias is None else out + self.bias[...].astype(out.dtype)
        return checkpoint_name(out, "product")  # which `stack.Remat` may keep


class Conv(nnx.Module):
    """3x3 convolution of B H W C, stride 1, zero padding, as products; never a strided one.

    In float32 by Winograd's algorithm (`winograd`). In a shorter dtype, whose rounding its sums
    would magnify, the nine shifted pictures stand side by side in one product, whose sums are
    float32: so the backward pass is that of `matmul`, with cotangents in the compute dtype.
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
        kernel, bias = self.kernel[...], self.bias[...].astype(self.dtype)
        if self.dtype == "float32":
            return winograd(x.astype(self.dtype), jnp.asarray(kernel)) + bias
        height, width = x.shape[1:3]
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        near = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return matmul(jnp.concatenate(near, -1), kernel, self.dtype) + bias


def winograd(x: Float[Array, "B H W C"], kernel: Float[Array, "K D"]) -> Float[Array, "B H W D"]:
    """3x3 convolution with zero padding, F(2x2, 3x3) of Lavin and Gray 2015.

    A square of 2x2 places takes 16 products of vectors with matrices in place of 36. The 9 C rows
    of `kernel` are (row, column, channel).
    """
    (batch, height, width, channels), outputs = x.shape, kernel.shape[1]
    parts = kernel.reshape(3, 3, channels, outputs)
    taps = jnp.einsum("ai,bj,ijcd->abcd", _TAPS, _TAPS, parts).reshape(16, channels, outputs)
    padded = jnp.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    seen = jnp.stack([p for row in _seen(padded, 1) for p in _seen(row, 2)])
    rows, columns = seen.shape[2:4]
    products = jnp.einsum("pnc,pcd->pnd", seen.reshape(16, -1, channels), taps)
    products = products.reshape(4, 4, batch, rows, columns, outputs)
    made = [jnp.stack(_made(list(row)), 3) for row in _made(list(products))]
    out = jnp.stack(made, 2).reshape(batch, 2 * rows, 2 * columns, outputs)
    return out[:, :height, :width]


_TAPS = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.float32) / 2


def _seen(x: Array, axis: int) -> list[Array]:
    """What is multiplied with each of the 4 taps: sums of the 4 places that 2 outputs see."""
    x = jnp.moveaxis(x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :]), axis + 1, 0)
    first, last = (
        jax.lax.slice_in_dim(x, i, i + x.shape[axis + 1] - 1, axis=axis + 1) for i in (0, 1)
    )
    return [first[0] - last[0], first[1] + last[0], last[0] - first[1], first[1] - last[1]]


def _made(x: list[Array]) -> list[Array]:
    """The 2 outputs of 4 products."""
    return [x[0] + x[1] + x[2], x[1] - x[2] - x[3]]


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
