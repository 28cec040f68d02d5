"""1.3B on clips of 32,760 tokens, four at a time on 16 small chips.

Question: does the small chip train the small model well?
Hardware: v5e:4x4.   Expect: 2.23 s.
    sora-jax plan --config experiments/plan/1_3b_480p.py
"""

from ml_collections import ConfigDict

from experiments.plan import wan


def get_config(arg: str = "") -> ConfigDict:
    """The plan's only config."""
    if arg:
        raise ValueError(f"argument {arg!r} is not known; there is none")
    cfg = wan.plan_config("1.3B", wan.SIZE_480P, "v5e:4x4")
    cfg.name = "1_3b_480p"
    cfg.mesh.update(fsdp=4, context=4)
    cfg.dit.loop.batch_size = 4
    cfg.dit.model.remat = "products"  # 14 of 15.75 GiB; attention: 5, and 7% more to compute
    return cfg
