"""Train steps of a tiny transformer on packed rows, on any mesh of the eight virtual devices."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from sora_jax.data.packing import Clip, RowSize, pack
from sora_jax.sharding import context
from sora_jax.sharding import mesh as meshes
from sora_jax.train import dit_run, runner
from tests.train.helpers import tiny_training

STEPS = 2


def training(*, dit: dict[str, Any] | None = None, accumulate: int = 1, ring: int = 1):
    """Eight heads, so that eight devices can share them; all parts of the state are used."""
    base = tiny_training(accumulate=accumulate)
    fields = dict(width=32, num_heads=8, depth=2, text_attention="cross") | (dit or {})
    model = dataclasses.replace(base.model, dit=dataclasses.replace(base.model.dit, **fields))
    attention = context.AttentionConfig(ring=ring)
    return dataclasses.replace(base, model=model, attention=attention)


@functools.cache
def packed_batch(step: int) -> dict[str, np.ndarray]:
    """Eight rows of 32 tokens, each of two clips of different sizes, captions and padding."""
    rng = np.random.default_rng(step)

    def clip(number: int, chunks: int) -> Clip:
        words = int(rng.integers(2, 5))
        return Clip(
            latents=rng.normal(size=(chunks, 2, 2, 4)).astype(np.float32),
            fps=8.0,
            size=(16, 16),
            text=rng.integers(2, 20, words).astype(np.int32),
            text_span=np.tile(np.float32([0, 1e6]), (words, 1)),
            sample_id=number,
        )

    rows = [[clip(2 * i, 2 + i % 2), clip(2 * i + 1, 4 - i % 2)] for i in range(8)]
    return pack(rows, RowSize(tokens=32, frames=8, text=12, clips=3), (1, 1, 1))


def run(cfg, mesh: meshes.Mesh) -> tuple[list[float], Any]:
    """Losses and parameters after STEPS steps."""
    built = runner.build(dit_run.plan(cfg), mesh)
    state, losses, compiled = built.fresh(), [], None
    for number in range(STEPS):
        batch = meshes.put_batch(mesh, packed_batch(number))
        if compiled is None:
            compiled = built.step_fn.lower(state, batch, 0.0).compile()
        state, metrics = compiled(state, batch, 0.0)
        losses.append(float(metrics["loss"]))
    return losses, jax.device_get(state.params)
