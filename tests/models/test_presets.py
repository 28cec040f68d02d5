"""If these fail, a size by name is not the size that it says."""

import math

import jax
import pytest

from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.presets import PRESETS, preset
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.vae.vae import VAEConfig

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


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="no preset '14b'; did you mean '14B'"):
        preset("14b")
