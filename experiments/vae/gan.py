"""An autoencoder of 64x64 clips, 4x8x8 pixels and 16 channels, with and without a discriminator.

Question: does adversarial training give detail back, and what does it cost in PSNR?
Hardware: 2 CPU cores alone, a few minutes a variant.
Outcome: gradient energy .388 of the source's without, .429 with it, for .23 dB (docs/vae.md). The
perceptual variants have not run.
    python -m benchmarks.vae_gan runs/vae_film runs/vae_gan
    sora-jax train --config vae/gan:adversarial --workdir runs/gan --config.data.source=SHARDS
"""

from ml_collections import ConfigDict

from experiments import base

VARIANTS = ("plain", "adversarial", "perceptual", "both")


def get_config(arg: str = "adversarial") -> ConfigDict:
    """The variant `arg`; all start alike and see the same clips. "smoke" is short and small."""
    cfg = base.get_config()
    cfg.name = "vae_gan"
    cfg.until = "vae"
    clips = {"size": (64, 64), "num_frames": 8, "fps": 24.0}
    cfg.data.update(source="", **clips)
    cfg.sampling.update(clips)
    cfg.vae.model.update(channels=16, widths=(64, 96), norm=False, dtype="float32")
    cfg.vae.model.deep_encoder = True
    cfg.vae.loss.update(rough_share=0.0, latent_noise=0.05)
    cfg.vae.optimizer.cooldown = 0.5
    cfg.vae.loop.update(steps=600, batch_size=2, log_every=20, eval_every=1000)
    name = "both" if arg == "smoke" else arg
    if name not in VARIANTS:
        raise ValueError(f"argument {arg!r} is not known; use one of {', '.join(VARIANTS)}, smoke")
    if name in ("adversarial", "both"):
        cfg.vae.loss.adversarial.update(weight=1.0, start=150)
        cfg.vae.loss.adversarial.discriminator.update(widths=(24, 48), dtype="float32")
        cfg.vae.optimizer.discriminator_rate = 1e-3
    if name in ("perceptual", "both"):
        cfg.vae.loss.perceptual.update(weight=0.1, frames=4)
    if arg == "smoke":
        base.shrink(cfg)
        cfg.vae.loss.adversarial.start = 3
        cfg.vae.loss.adversarial.discriminator.widths = (8, 8)
    return cfg
