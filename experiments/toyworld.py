"""The full toy world at 64x64: light, speed, style, camera, two objects, cuts at stated times.

Question: how much of a described world is learned in 90 minutes on two cores?
Hardware: 2 CPU cores, 105 minutes.   Expect: one object .9, two .5, camera .9, light .95, cuts .7.
    make toyworld
"""

from ml_collections import ConfigDict

from experiments import base


def get_config(arg: str = "") -> ConfigDict:
    """The quickstart's networks, wider, on latents of 16x16 pixels: as many tokens."""
    cfg = base.get_config()
    cfg.name = "toyworld"
    cfg.data.update(num_train=32768, size=(64, 64))
    cfg.sampling.update(size=(64, 64), shift=3.0)
    cfg.data.num_vae = 8192
    cfg.vae.model.update(channels=192, pack=2)
    cfg.vae.loss.rough_noise = 0.1  # of so many channels, many are small
    cfg.vae.loop.update(minutes=28.0, batch_size=4)
    cfg.dit.model.update(width=192, depth=5, num_heads=6, unroll=5)
    cfg.dit.text.update(width=192, depth=2, num_heads=6, max_tokens=64)
    cfg.dit.diffusion.noise.mean = 1.5  # the background fills four times the values
    cfg.dit.loop.minutes = 60.0
    if arg == "smoke":
        base.shrink(cfg)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg
