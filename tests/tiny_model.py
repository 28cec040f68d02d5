"""A model of a few thousand random weights, for tests of everything that stands on a bundle."""

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.export.bundle import write_bundle
from sora_jax.export.sampling import SamplingConfig
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae.vae import VAE, VAEConfig

WORDS = "a red blue circle square moves left right on white black background".split()


def tiny_parts() -> dict:
    """Build what `write_bundle` takes. No layer is zero, as some are at the start of training."""
    tokenizer = Tokenizer(WORDS, max_tokens=12)
    model = ModelConfig(
        vae=VAEConfig(channels=4, patch=4, widths=(8, 8), blocks=1, dtype="float32"),
        dit=DiTConfig(width=16, depth=2, num_heads=2, dtype="float32"),
        text=TextConfig(
            width=16,
            depth=1,
            num_heads=2,
            vocab_size=tokenizer.vocab_size,
            max_tokens=12,
            dtype="float32",
        ),
        latents=LatentStats(shift=(0.1, 0.0, -0.1, 0.0), scale=2.0, variance=(1.0, 2.0, 0.5, 1.0)),
    )
    params = {
        "vae": _random(network.graph(VAE, model.vae)[1], 0),
        "dit": _random(network.graph(network.Denoiser, model)[1], 1),
    }
    sampling = SamplingConfig(
        num_frames=16, size=(16, 16), fps=8.0, steps=3, solver="euler", cfg_scale=2.0
    )
    return dict(model=model, params=params, tokenizer=tokenizer, sampling=sampling, card="# Tiny\n")


def without_networks(vae: dict) -> dict:
    """VAE params whose networks give 0, so that only the linear maps are left."""
    left = {}
    for name, part in vae.items():
        left[name] = dict(part)
        if "network" in part:
            output = jax.tree.map(jnp.zeros_like, part["network"]["output"])
            left[name]["network"] = part["network"] | {"output": output}
    return left


def write_tiny(directory, **changes):
    """Write the tiny bundle into `directory`."""
    return write_bundle(directory, **(tiny_parts() | changes))


def _random(shapes: dict, seed: int) -> dict:
    rng = np.random.default_rng(seed)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = shape.shape[-2] if len(shape.shape) > 1 else 1
        return rng.normal(0, fan_in**-0.5, shape.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)
