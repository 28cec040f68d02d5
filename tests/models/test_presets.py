"""If these fail, a size by name is not the size that it says."""

import math

import jax
import jax.numpy as jnp
import pytest

from experiments import base
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.presets import PRESETS, VAE_PRESETS, preset, vae_preset
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.vae.vae import TEMPORAL, VAE, VAEConfig

MILLIONS = {
    "S": 33.5,
    "B": 133,
    "L": 463,
    "XL": 682,
    "1.3B": 1414,
    "2B": 2055,
    "5B": 5002,
    "14B": 14316,
    "30B": 29977,
    "toy": 1.114,
}
# Parameters, and frames, rows, columns and channels of a latent.
AUTOENCODERS = {
    "toy": (1_093_152, (4, 8, 8, 32)),
    "f8t4c16": (98_976_336, (4, 8, 8, 16)),
    "f16t4c48": (99_421_216, (4, 16, 16, 48)),
}


def with_preset(name: str, **changes) -> ModelConfig:
    return ModelConfig(
        vae=VAEConfig(channels=16, patch=4, widths=(8, 8), blocks=1),
        dit=DiTConfig(**preset(name) | changes),
        text=TextConfig(width=128, depth=1, num_heads=2, vocab_size=64),
        latents=LatentStats.identity(16),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_as_many_parameters_as_it_says(name):
    _, abstract, _ = network.graph(network.Denoiser, with_preset(name))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract["dit"])) / 1e6
    assert count == pytest.approx(MILLIONS[name], rel=0.01)


def test_the_layers_of_14b_are_those_of_wan():
    """Self-attention 4 D^2, text attention 4 D^2 and MLP 2 D F: what the FLOP formula counts."""
    _, abstract, _ = network.graph(network.Denoiser, with_preset("14B"))
    blocks = abstract["dit"]["blocks"]
    matrices = [leaf for leaf in jax.tree.leaves(blocks) if leaf.ndim == 3 and leaf.shape[1] > 6]
    count = sum(math.prod(leaf.shape) for leaf in matrices)
    assert count == 40 * (8 * 5120**2 + 2 * 5120 * 13824)


@pytest.mark.parametrize("name", VAE_PRESETS)
def test_an_autoencoder_is_what_its_name_says(name):
    """Exactly as many parameters, frames and pixels a latent, and channels; it can be traced."""
    cfg = VAEConfig(**vae_preset(name))
    count, (frames, height, width, channels) = AUTOENCODERS[name]
    _, abstract, _ = network.graph(VAE, cfg)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract)) == count
    assert (TEMPORAL, cfg.spatial, cfg.spatial, cfg.channels) == (frames, height, width, channels)
    video = jax.ShapeDtypeStruct((1, 2 * frames, 2 * height, 3 * width, 3), jnp.float32)
    latents = jax.eval_shape(lambda p, x: network.module(VAE, cfg, p).encoder(x), abstract, video)
    assert latents.shape == (1, 2, 2, 3, channels)
    back = jax.eval_shape(lambda p, x: network.module(VAE, cfg, p).decoder(x), abstract, latents)
    assert back.shape == video.shape and back.dtype == jnp.float32


def test_the_toy_autoencoder_is_the_quickstarts():
    """Fields that the preset leaves out are the config's defaults."""
    assert VAEConfig(**vae_preset("toy")) == VAEConfig(**base.vae()["model"])


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="no preset 'f8c16'; did you mean 'f8t4c16'"):
        vae_preset("f8c16")
    with pytest.raises(UsageError, match="no preset '14b'; did you mean '14B'"):
        preset("14b")
