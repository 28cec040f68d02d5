"""The architecture of the autoencoder, small, on clips of a film: variants of what is in the code.

Question: which network reconstructs most for its training time?
Hardware: one CPU core a run, minutes; float32.
    sora-jax train --config vae/ablations/architecture:patch8 --workdir runs/patch8
Outcome, 120 s of one core each, batch 2, one seed, 131 held-out clips of 64x64; dB over the linear
codec of 16 channels, and steps that the time was enough for:
    narrow .80 (1,130)      widths (96, 160) .67 (725)      two_blocks .59 (611)
    norm .52 (1,083)        patch2 .63 (769)                patch8 .53 (451)
    leaky ReLU for SiLU .65 (1,127)     norm, contrast given back after each branch .63 (1,056)
    norm, gated products for the MLP .53 (1,098)
    batch 1 .59 (1,655)     rates halved .72                rates doubled .37
Of widths (96, 160), 120 s of one core, the same clips, one seed:
    4 clips of 16 frames .69 (440)              8 of 8 frames, from a drawn one on .74 (420)
    4 of 8 frames .85 (700)                     and mlp_ratio 2 for 4: .94 (893)
    and mirrored and backwards, mlp 4: .79 (680), with half the gap to clips it was trained on
    mlp_ratio 1, widths (128, 192): .78 (660)   squared error alone, mlp 4: .77 (640)
The time was CPU time; the command above trains for two minutes of all cores. Blocks without norm
won, and small networks in so short a time. One seed does not tell apart what is within a tenth.
Full 3-D and factorised convolutions, wavelets and attention at the coarsest level are not compared
yet: `python -m benchmarks.vae_architectures` does that, with three seeds.
"""

from ml_collections import ConfigDict

from experiments.vae import film

# What is still in the code; fields of `VAEConfig`.
VARIANTS = {
    "narrow": {},
    "norm": {"norm": True},
    "two_blocks": {"blocks": 2},
    "patch2": {"patch": 2, "widths": (32, 64, 128)},
    "patch8": {"patch": 8, "widths": (192,), "blocks": 2},
}


def get_config(arg: str = "narrow") -> ConfigDict:
    """The variant `arg`, trained on the clips of `make vae-film`; "smoke" takes seconds."""
    cfg = film.get_config("smoke" if arg == "smoke" else "")
    if arg == "smoke":
        return cfg
    if arg not in VARIANTS:
        raise ValueError(f"argument {arg!r} is not known; use one of {', '.join(VARIANTS)}, smoke")
    cfg.name = f"vae_architecture_{arg}"
    cfg.vae.model.update(widths=(64, 128), norm=False)
    cfg.vae.model.update(VARIANTS[arg])
    cfg.vae.optimizer.update(warmup=20, ns_steps=3)
    cfg.vae.loop.update(minutes=2.0, batch_size=2)
    return cfg
