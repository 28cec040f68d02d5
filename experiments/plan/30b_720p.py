"""30B on clips of 75,600 tokens, 64 at a time on 512 chips, each clip over eight.

Question: does it fit?
Hardware: v5p:8x8x8.   Expect: fits..
    sora-jax plan --config experiments/plan/30b_720p.py
"""

from ml_collections import ConfigDict

from experiments.plan import wan


def get_config(arg: str = "") -> ConfigDict:
    """The plan's only config."""
    if arg:
        raise ValueError(f"argument {arg!r} is not known; there is none")
    cfg = wan.plan_config("30B", wan.SIZE_720P, "v5p:8x8x8")
    cfg.name = "30b_720p"
    cfg.mesh.update(fsdp=64, context=8)
    cfg.dit.loop.batch_size = 64
    return cfg
