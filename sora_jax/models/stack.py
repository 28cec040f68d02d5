"""Stacked layers: the only file that knows how layers are stacked and run."""

from collections.abc import Callable

import jax
from flax import nnx

from sora_jax.arrays import Array


def stack(make_block: Callable[[nnx.Rngs], nnx.Module], num: int, rngs: nnx.Rngs) -> nnx.Module:
    """`num` blocks in one module, every parameter with a leading "layers" dim."""
    keys = jax.random.split(rngs.params(), num)
    blocks = jax.vmap(lambda key: make_block(nnx.Rngs(params=key)))(keys)
    for param in jax.tree.leaves(blocks, is_leaf=lambda leaf: isinstance(leaf, nnx.Param)):
        param.set_metadata(out_sharding=("layers", *param.get_metadata()["out_sharding"]))
    return blocks


def scan_blocks(
    apply: Callable[[nnx.Module, Array], Array],
    blocks: nnx.Module,
    x: Array,
    *,
    remat: bool = False,
    unroll: int = 1,
) -> Array:
    """Run `x = apply(block, x)` over the stacked blocks, `unroll` of them in a turn of the loop.

    `remat` computes them again on the way back instead of keeping what is inside.
    """

    def body(x, block):
        return apply(block, x), None

    body = jax.checkpoint(body) if remat else body
    return jax.lax.scan(body, x, blocks, unroll=unroll)[0]
