"""14B on clips of 75,600 tokens, one at a time on four chips: the peer's published run.

Question: does it fit, and what of the peer's 32 s is left?
Hardware: v5p:2x2x1.   Expect: 22 s..
    sora-jax plan --config experiments/plan/14b_720p.py
"""

from ml_collections import ConfigDict

from experiments.plan import wan


def get_config(arg: str = "") -> ConfigDict:
    """The plan's only config."""
    if arg:
        raise ValueError(f"argument {arg!r} is not known; there is none")
    cfg = wan.plan_config("14B", wan.SIZE_720P, "v5p:2x2x1")
    cfg.name = "14b_720p"
    cfg.mesh.update(fsdp=1, context=4)
    cfg.dit.loop.batch_size = 1
    cfg.dit.optimizer.state_dtype = "bfloat16"  # in float32 it is 4.6 GiB a chip too large
    return cfg
