"""What a step costs in matrix products, and how fast this machine does them."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def matmul_flops(function: Callable, *args: Any) -> int:
    """Floating-point operations of all matrix products in one call, loops counted in full.

    Read off the traced program, so the products of the backward pass, of recomputation and of the
    optimizer are in it. Nothing is run: `args` may be `jax.ShapeDtypeStruct`s.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def matmul_rate(dtype: str = "float32", size: int = 1024, seconds: float = 0.5) -> float:
    """FLOP/s of this device at `size` cubed products in `dtype`: the best of repeated calls."""
    left = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.dot).lower(left, left).compile()
    jax.block_until_ready(product(left, left))
    best, stop = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter()
        jax.block_until_ready(product(left, left))
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _count(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contract, _), _ = equation.params["dimension_numbers"]
            ends = (equation.invars[0].aval, equation.outvars[0].aval)
            left, out = (aval.shape for aval in ends)  # type: ignore[attr-defined]
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contract)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        inner = [_count(jaxpr) for value in equation.params.values() for jaxpr in _jaxprs(value)]
        is_choice = equation.primitive.name == "cond"  # one branch runs: the longest counts
        total += times * (max(inner, default=0) if is_choice else sum(inner))
    return total


def _jaxprs(value: Any):
    if isinstance(value, core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _jaxprs(item)
