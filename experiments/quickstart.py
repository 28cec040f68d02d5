"""The quickstart: one coloured object on a plain ground, 32x32, 16 frames.

Question: does the whole path work on this machine?   Hardware: 2 CPU cores, 25 minutes.
Expect: seen >= .95 and held out >= .92 on all attributes.
    make quickstart
"""

from ml_collections import ConfigDict

from experiments import base


def get_config(arg: str = "") -> ConfigDict:
    """The defaults as they are."""
    cfg = base.get_config(arg)
    cfg.name = "quickstart"
    return cfg
