"""Clips of any source, at 64x64, 16 frames: your own videos, shards, physics, the full toy world.

One field says which: data.source, a directory (of NAME.mp4 with captions in NAME.txt, or shards),
physics or toyworld.

Question: does the path from files to samples work on real clips?   Hardware: 2 CPU cores, 15 min.
Expect: reconstructions above the linear codec, training clips recognisable from their captions.
    sora-jax quickstart --data DIR
    sora-jax train --config videos --workdir runs/physics --config.data.source=physics
"""

from ml_collections import ConfigDict

from experiments import base


def get_config(arg: str = "") -> ConfigDict:
    """The quickstart's networks on few clips: it overfits them, as it should."""
    cfg = base.get_config()
    cfg.name = "videos"
    cfg.data.update(source="", num_train=2048, num_test=64, size=(64, 64), num_vae=4096)
    cfg.sampling.update(size=(64, 64), cfg_scale=1.5)
    cfg.vae.loss.rough_share = 0.0  # every scene is its own: the encoder learns too
    cfg.vae.loop.minutes = 3.5
    cfg.dit.loop.update(minutes=7.0, batch_size=4)  # of four times the tokens
    cfg.dit.text.max_tokens = 128  # words of people's captions are partly spelled
    cfg.dit.model.width = cfg.dit.text.width = 128
    cfg.dit.still_share = 0.0
    if arg == "smoke":
        base.shrink(cfg)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg
