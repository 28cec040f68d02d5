"""An upscaler of 7,000 weights on the full toy world, halved from 64x64.

Question: does a network that small beat Lanczos on clips that it has not seen, in minutes?
Hardware: 2 CPU cores, 3 minutes.   `make upscaler`
Outcome: 36.0 dB on held-out clips, Lanczos 31.1; 1.5 minutes (docs/tools.md, "Enlarging").
"""

from ml_collections import ConfigDict

from experiments import base


def get_config(arg: str = "") -> ConfigDict:
    """`arg` = "smoke" shrinks the run to seconds."""
    cfg = base.get_config()
    cfg.name = "upscaler"
    cfg.until = "upscaler"
    cfg.data.update(num_train=2048, num_test=64, size=(64, 64))
    cfg.sampling.update(size=(64, 64))
    cfg.eval.samples = 64
    if arg == "smoke":
        base.shrink(cfg)
    elif arg:
        raise ValueError(f"argument {arg!r} is not known; use smoke or none")
    return cfg
