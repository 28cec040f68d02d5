"""The large autoencoder of high compression: 4 frames of 16x16 pixels in 48 channels.

Question: what does a quarter of the tokens cost in quality, at 64 values to 1 instead of 48?
Hardware: 16 chips of v5p or more; `sora-jax plan` says what it needs.   Expect: not run here, where
there is no TPU; `:smoke` runs its path in seconds on two cores.
    sora-jax train --config vae/f16t4c48 --workdir runs/f16t4c48 --config.data.source=SHARDS
    sora-jax train --config vae/f16t4c48:smoke --workdir runs/smoke --config.data.source=SHARDS
"""

from ml_collections import ConfigDict

from experiments.vae import f8t4c16


def get_config(arg: str = "") -> ConfigDict:
    """As f8t4c16, of another preset."""
    return f8t4c16.large("f16t4c48", arg)
