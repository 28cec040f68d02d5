"""Stacked layers: the only file that knows how layers are stacked and run."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from sora_jax.arrays import Array

Remat = Literal["none", "products", "attention", "block", "offload"]


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
    remat: Remat = "none",
    unroll: int = 1,
) -> Array:
    """Run `x = apply(block, x)` over the stacked blocks, `unroll` of them in a turn of the loop.

    `remat` says what is kept for the way back; all else is computed again. none: keep everything;
    products: the input of each block, what attention gave and what each matrix gave, so that only
    norms and the like are done twice; attention: the first two of those; block: the first alone;
    offload: that, in the host's memory.
    """

    def body(x, block):
        return apply(block, checkpoint_name(x, "block_input")), None

    if remat != "none":
        # Within one turn of the loop the compiler might find the first computation again.
        body = jax.checkpoint(body, policy=_policy(remat), prevent_cse=unroll > 1)
    return jax.lax.scan(body, x, blocks, unroll=unroll)[0]


def _policy(remat: Remat):
    policies = jax.checkpoint_policies
    if remat == "products":
        return policies.save_only_these_names("attention", "product")
    if remat == "attention":
        return policies.save_only_these_names("attention")
    if remat == "offload":
        return policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=["block_input"],
            offload_src="device",
            offload_dst="pinned_host",
        )
    return policies.nothing_saveable
