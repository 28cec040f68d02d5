"""Toy world clips, and the model of random weights that is asked for them."""

import functools
from pathlib import Path

import numpy as np

from data_pipelines.toyworld.render import render
from sora_jax.data.scene import sample_scene
from sora_jax.data.schema import Caption
from sora_jax.eval.sets import ToyClip, ToyWorldSets
from sora_jax.export.bundle import open_model
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate.engine import Engine
from tests.tiny_model import write_tiny

SETTINGS = SamplingConfig(num_frames=16, size=(32, 32), fps=8.0, steps=2, cfg_scale=2.0)


def draw_clips(n: int, split: str, start: int = 0) -> tuple[ToyClip, ...]:
    """Real clips under prompts of the few words that the tiny model has."""
    scenes = [sample_scene("small", start + i, split=split) for i in range(n)]
    return tuple(
        ToyClip(
            scene=scene,
            captions=(Caption(f"a {('red', 'blue')[i % 2]} circle moves left", 0.0, 2.0),),
            video=render(scene),
        )
        for i, scene in enumerate(scenes)
    )


@functools.cache
def draw_sets(n: int) -> ToyWorldSets:
    train = np.stack([clip.video for clip in draw_clips(4 * n, "train", 1000)])
    return ToyWorldSets(seen=draw_clips(n, "train"), heldout=draw_clips(n, "heldout"), train=train)


def make_engine(directory: Path, max_batch: int = 4) -> Engine:
    return Engine(open_model(write_tiny(directory / "tiny")), max_batch=max_batch)
