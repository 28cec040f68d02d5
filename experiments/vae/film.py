"""An autoencoder of 4x8x8 pixels and 16 channels on clips of a real film, held to the linear codec.

Question: how far above the best linear codec of as many channels does half an hour on a CPU lead?
Hardware: 2 CPU cores, 30 minutes.   `make vae-film` makes the clips, trains, measures.
    sora-jax train --config vae/film --workdir runs/vae_film/run
Outcome: docs/vae.md, "On a film".
"""

from ml_collections import ConfigDict

from experiments import base


def get_config(arg: str = "") -> ConfigDict:
    """Clips of `benchmarks.film_clips`; `arg` = "smoke" shrinks the run to seconds."""
    cfg = base.get_config()
    cfg.name = "vae_film"
    cfg.until = "vae"
    clips = {"size": (64, 64), "num_frames": 16, "fps": 24.0}
    cfg.data.update(source="runs/vae_film/clips", num_vae=16384, **clips)
    cfg.sampling.update(clips)
    cfg.vae.model.update(
        channels=16,
        deep_encoder=True,
        norm=False,
        dtype="float32",
        widths=(96, 192),
        mlp_ratio=2,
    )
    cfg.vae.augment.update(frames=8, mirror=True, reverse=True)
    cfg.vae.loss.update(l1=0.02, latent_noise=0.02, rough_share=0.0)
    cfg.vae.loop.update(
        minutes=26.5, batch_size=4, log_every=100, eval_every=2000, checkpoint_every=2000
    )
    cfg.vae.normalise = "channel"
    if arg == "smoke":
        base.shrink(cfg)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg
