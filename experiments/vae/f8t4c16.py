"""The large autoencoder, about 100 M parameters: a latent is 4 frames of 8x8 pixels in 16 channels.

Question: how far does the tiny ones' recipe go with a network of the size of Wan's and Hunyuan's?
Hardware: 16 chips of v5p or more; `sora-jax plan` says what it needs.   Expect: not run here, where
there is no TPU; `:smoke` runs its path in seconds on two cores.
    sora-jax train --config vae/f8t4c16 --workdir runs/f8t4c16 --config.data.source=SHARDS
    sora-jax train --config vae/f8t4c16:smoke --workdir runs/smoke --config.data.source=SHARDS
"""

from ml_collections import ConfigDict

from experiments import base
from sora_jax.models.presets import vae_preset


def get_config(arg: str = "") -> ConfigDict:
    """One second of 256x256 at 16 frames/s, latents of unit variance in every channel."""
    return large("f8t4c16", arg)


def large(preset: str, arg: str) -> ConfigDict:
    """A training of a preset; `arg` "smoke" shrinks it to seconds."""
    cfg = base.get_config()
    cfg.name, cfg.until = f"vae_{preset}", "vae"
    clips = {"size": (256, 256), "num_frames": 16, "fps": 16.0}
    cfg.data.update(source="", num_vae=16384, **clips)  # 3 MB a clip, in memory
    cfg.sampling.update(clips)
    cfg.vae.model.update(vae_preset(preset) | {"deep_encoder": True})
    cfg.vae.loss.update(rough_share=0.0, latent_noise=0.05)
    cfg.vae.normalise = "channel"
    cfg.vae.optimizer.update(name="adamw", rate=2e-4, warmup=2000, cooldown=0.3, spike=10.0)
    cfg.vae.loop.update(steps=200_000, batch_size=64, eval_every=5000, checkpoint_every=2000)
    if arg == "smoke":
        base.shrink(cfg)
        small = {"size": (32, 32), "num_frames": 8, "fps": 8.0}
        cfg.data.update(small)
        cfg.sampling.update(small)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg
