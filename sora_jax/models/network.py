"""The whole model as plain functions of dict parameters: the boundary between nnx and the rest.

Modules are built once without numbers to learn their structure (`graph`), and from then on
parameters are nested dicts: in the step, in checkpoints, in bundles.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax.arrays import Array, Float, Key, Params
from sora_jax.canvas import Canvas
from sora_jax.models.dit import CanvasDiT, DiTConfig
from sora_jax.models.layout import ONE_DEVICE, Layout
from sora_jax.models.text.encoder import SmallTextEncoder, TextConfig
from sora_jax.models.vae.vae import TEMPORAL, VAE, VAEConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentStats:
    """How VAE latents are normalised: `(raw - shift) * scale` has mean 0 and mean variance 1."""

    shift: tuple[float, ...]
    scale: float | tuple[float, ...]  # of all channels, or of each
    variance: tuple[float, ...]  # of each normalised channel

    @classmethod
    def identity(cls, channels: int) -> "LatentStats":
        return cls(shift=(0.0,) * channels, scale=1.0, variance=(1.0,) * channels)

    def normalise(self, raw: Float[Array, "*b C"]) -> Array:
        """What the transformer sees of the encoder's latents."""
        return (raw - jnp.asarray(self.shift)) * jnp.asarray(self.scale)

    def restore(self, latents: Float[Array, "*b C"]) -> Array:
        """Inverse of `normalise`."""
        return latents / jnp.asarray(self.scale) + jnp.asarray(self.shift)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the networks and the meaning of their latents."""

    vae: VAEConfig
    dit: DiTConfig
    text: TextConfig
    latents: LatentStats

    @property
    def patch_values(self) -> int:
        return self.vae.channels * math.prod(self.dit.patch)

    @property
    def known_bits(self) -> int:
        return TEMPORAL * math.prod(self.dit.patch)

    @property
    def token_variance(self) -> tuple[float, ...]:
        """Variance of each of a token's P values."""
        return self.latents.variance * math.prod(self.dit.patch)


class Denoiser(nnx.Module):
    """Text encoder and transformer, trained together."""

    def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
        self.text = SmallTextEncoder(cfg.text, cfg.dit.width, rngs=rngs)
        self.dit = CanvasDiT(cfg.dit, cfg.patch_values, cfg.known_bits, rngs=rngs)


@functools.cache
def graph(make: type, cfg) -> tuple[nnx.GraphDef, dict, dict]:
    """(graphdef, abstract params, logical axis names) of `make(cfg)`; nothing is computed."""
    with nnx.use_eager_sharding(False):
        model = nnx.eval_shape(lambda: make(cfg, rngs=nnx.Rngs(params=jax.random.key(0))))
        graphdef, params = nnx.split(model, nnx.Param)
        names = nnx.to_pure_dict(nnx.get_partition_spec(params))
    return graphdef, nnx.to_pure_dict(params), names


def init(make: type, cfg, key: Key) -> Params:
    """Fresh parameters as a nested dict."""
    with nnx.use_eager_sharding(False):
        model = make(cfg, rngs=nnx.Rngs(params=key))
        return nnx.to_pure_dict(nnx.split(model, nnx.Param)[1])


def module(make: type, cfg, params: Params) -> nnx.Module:
    """The module with these parameters, for use within one trace."""
    with nnx.use_eager_sharding(False):
        return nnx.merge(graph(make, cfg)[0], params)


def encode_text(cfg: ModelConfig, params: Params, canvas: Canvas) -> Float[Array, "B S D"]:
    """States of the canvas's captions; sampling needs them once."""
    return module(Denoiser, cfg, params).text(canvas)


def apply_dit(
    cfg: ModelConfig,
    params: Params,
    x_in: Float[Array, "B L P"],
    sigma: Float[Array, "B F"],
    canvas: Canvas,
    text: Float[Array, "B S D"] | None = None,
    layout: Layout = ONE_DEVICE,
) -> Float[Array, "B L P"]:
    """Raw output of the transformer for scaled input `x_in`; `text` as by `encode_text`."""
    model = module(Denoiser, cfg, params)
    text = model.text(canvas) if text is None else text
    return model.dit(x_in, sigma, canvas, text, layout)


def vae_encode(
    cfg: ModelConfig, params: Params, video: Float[Array, "B T H W 3"]
) -> Float[Array, "B n h w C"]:
    """Video in [-1, 1] -> normalised latents. T, H, W are multiples of 4, spatial, spatial."""
    return cfg.latents.normalise(module(VAE, cfg.vae, params).encoder(video))


def vae_decode(
    cfg: ModelConfig, params: Params, latents: Float[Array, "B n h w C"]
) -> Float[Array, "B T H W 3"]:
    """Normalised latents -> video, about in [-1, 1] (not clipped)."""
    return module(VAE, cfg.vae, params).decoder(cfg.latents.restore(latents))
