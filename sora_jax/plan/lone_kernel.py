"""Compiles one attention kernel alone, so that the compiler can write down its schedule."""

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from sora_jax.models import attention, splash, splash_kernels
from sora_jax.plan.chips import CHIPS, Chip
from sora_jax.plan.kernels import Kernel
from sora_jax.sharding import mesh as meshes

_BLOCKS = 4  # of queries and of keys: the schedule of a visit does not depend on it


def compile_alone(chip: Chip, kernel: Kernel) -> None:
    """Compile the kernel for one chip; the compiler's options say what it writes and where."""
    device = topologies.get_topology_desc(CHIPS[chip.name].examples, "tpu").devices[0]
    place = meshes.replicated(meshes.make_mesh(meshes.MeshConfig(), [device]))
    block = kernel.blocks
    options = splash_kernels.Options(
        heads=2,
        blocks=block,
        penalty=attention.SPAN_PENALTY if kernel.has_spans else None,
        vmem=splash.TUNING[chip.name].vmem,
    )

    def array(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    queries, keys = _BLOCKS * block.query, _BLOCKS * block.key
    q, k = (array(2, n, kernel.width, dtype=jnp.bfloat16) for n in (queries, keys))
    lines = splash_kernels.LINES
    tables = array(1, lines, queries), array(1, lines, keys)
    if kernel.kind == splash_kernels.FORWARD:
        jax.jit(splash_kernels.forward, static_argnums=5).lower(q, k, k, *tables, options).compile()
    else:
        jax.jit(splash_kernels.backward, static_argnums=4).lower(
            (q, k, k, q), array(2, lines, queries), *tables, options
        ).compile()
