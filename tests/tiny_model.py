"""A model of a few thousand random weights, for tests of everything that stands on a bundle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.export import features
from sora_jax.export.bundle import write_bundle
from sora_jax.export.sampling import SamplingConfig
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae import perceptual
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


@functools.cache
def lite0_arrays() -> dict[str, np.ndarray]:
    """Random weights of EfficientNet-lite0 under their public names."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        spread = (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"{conv}.weight"] = rng.normal(0, spread, shape).astype(np.float32)
        for name, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 0.5),
            ("running_mean", -0.5, 0.5),
            ("running_var", 0.5, 1.5),
        ):
            arrays[f"{norm}.{name}"] = rng.uniform(low, high, shape[0]).astype(np.float32)

    add("_conv_stem", "_bn0", (perceptual.LITE0_STEM, 3, 3, 3))
    number, inputs = 0, perceptual.LITE0_STEM
    for repeats, size, _, expansion, outputs in perceptual.LITE0_STAGES:
        for _ in range(repeats):
            name, inner = f"_blocks.{number}", inputs * expansion
            if expansion > 1:
                add(f"{name}._expand_conv", f"{name}._bn0", (inner, inputs, 1, 1))
            add(f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, size, size))
            add(f"{name}._project_conv", f"{name}._bn2", (outputs, inner, 1, 1))
            number, inputs = number + 1, outputs
    add("_conv_head", "_bn1", (perceptual.LITE0_HEAD, inputs, 1, 1))
    return arrays


@functools.cache
def vgg_arrays() -> dict[str, np.ndarray]:
    """Random weights of VGG16's convolutions and LPIPS' linear layers under their public names."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    inputs = 3
    for group, width in zip(perceptual.VGG_GROUPS, perceptual.VGG_WIDTHS, strict=True):
        for i in group:
            spread = (2 / (9 * inputs)) ** 0.5
            kernel = rng.normal(0, spread, (width, inputs, 3, 3))
            arrays[f"features.{i}.weight"] = kernel.astype(np.float32)
            arrays[f"features.{i}.bias"] = rng.normal(0, 0.1, width).astype(np.float32)
            inputs = width
    for k, width in enumerate(perceptual.VGG_WIDTHS):
        weight = rng.uniform(0, 1, (1, width, 1, 1)).astype(np.float32)
        arrays[f"lin{k}.model.1.weight"] = weight
    return arrays


def tiny_features() -> dict:
    """Random weights of EfficientNet-lite0 as `perceptual` takes them."""
    return features.efficientnet_lite0(lite0_arrays())


def write_tiny(directory, **changes):
    """Write the tiny bundle into `directory`."""
    return write_bundle(directory, **(tiny_parts() | changes))


def _random(shapes: dict, seed: int) -> dict:
    rng = np.random.default_rng(seed)

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        fan_in = shape.shape[-2] if len(shape.shape) > 1 else 1
        return rng.normal(0, fan_in**-0.5, shape.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)
