"""Attention by cuDNN's flash kernels on NVIDIA GPUs, through JAX's own call.

All groups of keys go into one call, and who may look at whom is a bias (B 1 L M): kernels keep no
logits, but that table is there, 2 bytes a pair. The way back runs the forward kernel once more,
since JAX's call gives gradients of nothing but its own softmax; so there is no ring of it.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array
from sora_jax.errors import UsageError
from sora_jax.models import attention
from sora_jax.models.attention import Backend, Groups, Keys, Queries

DTYPES = ("bfloat16", "float16")


def on(platform: str, dtype: str) -> Backend:
    """The backend for `jax.Device.platform`; where there is no GPU, the same call by XLA.

    Raises UsageError for a platform or dtype that cuDNN's kernels do not have.
    """
    if platform == "tpu":
        raise UsageError("attention.backend cudnn is for NVIDIA GPUs; on TPU use splash")
    if platform != "gpu":
        return make_backend("xla")
    if dtype not in DTYPES:
        raise UsageError(
            f"attention.backend cudnn computes in {' or '.join(DTYPES)}, not in {dtype}; set "
            "dit.model.dtype, or use attention.backend xla"
        )
    return make_backend("cudnn")


@functools.cache
def make_backend(implementation: Literal["xla", "cudnn"]) -> Backend:
    """The call as a backend; `implementation` is JAX's name of who computes it."""
    return Backend(
        functools.partial(_forward, implementation), functools.partial(_backward, implementation)
    )


def _forward(implementation: Any, queries: Queries, groups: Groups) -> tuple[Array, Array]:
    keys = attention.together(groups)
    out, log_sum = jax.nn.dot_product_attention(
        queries.q,
        keys.k,
        keys.v,
        bias=_rule(queries, keys),
        implementation=implementation,
        return_residual=True,
    )
    return out, log_sum.astype(jnp.float32)


def _backward(implementation: Any, queries: Queries, groups: Groups, log_sum, common, grad):
    del log_sum, common  # it makes them again
    keys = attention.together(groups)
    rule = _rule(queries, keys)

    def call(q: Array, k: Array, v: Array) -> Array:
        return jax.nn.dot_product_attention(q, k, v, bias=rule, implementation=implementation)

    _, back = jax.vjp(call, queries.q, keys.k, keys.v)
    dq, dk, dv = back(grad.astype(queries.q.dtype))
    return dq, attention.apart((dk, dv), groups)


def _rule(queries: Queries, keys: Keys) -> Array:
    """B 1 L M; without a gradient."""
    rule = attention.bias(queries, keys)[:, None]
    return jax.lax.stop_gradient(rule.astype(queries.q.dtype))
