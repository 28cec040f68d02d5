"""14B on clips of 32,760 tokens, sixteen at a time on 64 chips, float32 state.

Question: how fast is pretraining, and how little memory does it leave used?
Hardware: v5p:4x4x4.   Expect: 6.8 s, 17.4 GiB a chip.
    sora-jax plan --config experiments/plan/14b_480p.py
"""

from ml_collections import ConfigDict

from experiments.plan import wan


def get_config(arg: str = "") -> ConfigDict:
    """The plan's only config."""
    if arg:
        raise ValueError(f"argument {arg!r} is not known; there is none")
    cfg = wan.plan_config("14B", wan.SIZE_480P, "v5p:4x4x4")
    cfg.name = "14b_480p"
    cfg.mesh.update(fsdp=16, context=4)
    cfg.dit.loop.batch_size = 16
    return cfg
