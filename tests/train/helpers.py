"""A transformer of a few thousand weights with its data, as training sees it."""

import dataclasses

import numpy as np

from sora_jax.diffusion.canvas import TaskShares
from sora_jax.sharding.mesh import MeshConfig, make_mesh
from sora_jax.train.dit_run import DiTTraining, LatentClips
from sora_jax.train.loop import LoopConfig
from sora_jax.train.objectives import DiffusionConfig
from sora_jax.train.optimizer import OptimizerConfig
from tests.tiny_model import tiny_parts

PARTS = tiny_parts()
TOKENIZER = PARTS["tokenizer"]
CAPTIONS = ("a red circle", "a blue square moves", "a circle on black", "red square left")


def tiny_training(**loop) -> DiTTraining:
    """Every task is drawn, and AdamW moments and Muon momentum are both in the state."""
    model = dataclasses.replace(
        PARTS["model"], dit=dataclasses.replace(PARTS["model"].dit, width=16)
    )
    settings = dict(steps=6, batch_size=8, log_every=1, checkpoint_every=100, eval_every=100)
    return DiTTraining(
        model=model,
        diffusion=DiffusionConfig(tasks=TaskShares()),
        optimizer=OptimizerConfig(warmup=2),
        loop=LoopConfig(**(settings | loop)),
        still_share=0.2,
    )


def tiny_clips(count: int = 24) -> LatentClips:
    """Random latents with captions in turn."""
    rng = np.random.default_rng(0)
    return LatentClips(
        latents=rng.normal(size=(count, 4, 2, 2, 4)).astype(np.float16),
        held=rng.normal(size=(count, 4, 2, 2, 4)).astype(np.float16),
        captions=[[(CAPTIONS[i % 4], 0.0, 2.0)] for i in range(count)],
        fps=8.0,
        size=(16, 16),
    )


def one_device():
    """A mesh of the first device alone."""
    import jax

    return make_mesh(MeshConfig(), jax.devices()[:1])
