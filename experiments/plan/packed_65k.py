"""A row of 65,520 packed tokens: clips of 480p of two lengths, and images.

Question: what does packing cost against one clip of as many tokens?
Hardware: v5p:2x2x1.   Expect: at most 1.15 times the time.
    sora-jax plan --config experiments/plan/packed_65k.py
"""

from ml_collections import ConfigDict

from experiments.plan import wan


def get_config(arg: str = "") -> ConfigDict:
    """The plan's only config."""
    if arg:
        raise ValueError(f"argument {arg!r} is not known; there is none")
    cfg = wan.plan_config("1.3B", wan.SIZE_480P, "v5p:2x2x1")
    cfg.name = "packed_65k"
    cfg.mesh.update(fsdp=1, context=4)
    cfg.dit.loop.batch_size = 1
    # 1 x 32,760 + 2 x 12,480 + 5 x 1,560 tokens = 65,520, and 16 of padding to the row's end.
    cfg.plan.tokens = 65536
    cfg.plan.clips = ((1, 84, 480, 832), (2, 32, 480, 832), (5, 4, 480, 832))
    return cfg
