"""The architecture of the autoencoder, small, on clips of a film: what was compared.

Question: which network reconstructs best for its training time and its FLOPs?
Hardware: one CPU core a run, 60 s of CPU time without compiling, three seeds; float32.
    sora-jax train --config vae/ablations/architecture:patch8 --workdir runs/patch8

Outcome (OUTCOME)
"""

from ml_collections import ConfigDict

from experiments.vae import film

# What is still in the code; fields of `VAEConfig`.
VARIANTS = {
    "folded": {},
    "norm": {"norm": True},
    "two_blocks": {"blocks": 2},
    "narrow": {"widths": (64, 128)},
    "patch2": {"patch": 2, "widths": (64, 128, 192)},
    "patch8": {"patch": 8, "widths": (256,), "blocks": 2},
}


def get_config(arg: str = "folded") -> ConfigDict:
    """The variant `arg`, trained on the clips of `make vae-film`; "smoke" takes seconds."""
    cfg = film.get_config("smoke" if arg == "smoke" else "")
    if arg == "smoke":
        return cfg
    if arg not in VARIANTS:
        raise ValueError(f"argument {arg!r} is not known; use one of {', '.join(VARIANTS)}, smoke")
    cfg.name = f"vae_architecture_{arg}"
    cfg.vae.model.update(widths=(128, 192), norm=False)
    cfg.vae.model.update(VARIANTS[arg])
    cfg.vae.loss.latent_noise = 0.02
    cfg.vae.loss.l1 = 0.1
    cfg.vae.loop.update(minutes=1.0, batch_size=2)
    return cfg
