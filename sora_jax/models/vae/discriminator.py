"""The critic of adversarial training: how real a video looks, place by place.

Chunks of 4 frames and small squares are folded into channels, so that the first convolution
already sees motion; then come 3x3 convolutions in space, each followed by one over 3 chunks in
time, and 2x2 places become one between levels. All work is products, as in the autoencoder.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sora_jax.arrays import Array, Float
from sora_jax.models.layers import Conv, Dense
from sora_jax.models.vae.vae import TEMPORAL, Decoder, Encoder, VAEConfig, fold

_GAIN = 2**0.5  # keeps the spread of a signal through a leaky rectifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    patch: int = 2  # pixels folded into channels before the first level
    widths: tuple[int, ...] = (64, 128)  # of the levels; each halves the picture
    dtype: str = "bfloat16"

    def __post_init__(self):
        if self.patch < 1 or not self.widths or min(self.widths) < 1:
            raise ValueError(
                f"discriminator: patch {self.patch} and widths {self.widths} must be at least 1"
            )

    @property
    def spatial(self) -> int:
        """Pixels along a side of what one logit stands for."""
        return self.patch * 2 ** (len(self.widths) - 1)


class Discriminator(nnx.Module):
    """Video -> a logit for each chunk and square of `cfg.spatial` pixels; above 0 is real."""

    def __init__(self, cfg: DiscriminatorConfig, *, rngs: nnx.Rngs):
        names = ("channels_in", "channels_out")

        def dense(size, scale=_GAIN):
            return Dense(size, names, rngs=rngs, dtype=cfg.dtype, scale=scale)

        first = TEMPORAL * cfg.patch**2 * 3
        self.input = dense((first, cfg.widths[0]))
        self.space = nnx.Dict(
            {
                str(i): Conv((width, width), names, rngs=rngs, dtype=cfg.dtype, scale=_GAIN)
                for i, width in enumerate(cfg.widths)
            }
        )
        self.time = nnx.Dict(
            {str(i): dense((3 * width, width)) for i, width in enumerate(cfg.widths)}
        )
        self.resizes = nnx.Dict(
            {
                str(i): dense((4 * this, after))
                for i, (this, after) in enumerate(itertools.pairwise(cfg.widths))
            }
        )
        self.output = Dense((cfg.widths[-1], 1), names, rngs=rngs, dtype="float32")
        self.cfg = cfg

    def __call__(self, video: Float[Array, "B T H W 3"]) -> Float[Array, "B n h w"]:
        """`video` in [-1, 1]; its sides are multiples of `cfg.spatial`. Clips are independent."""
        x = _leaky(self.input(fold(video, self.cfg.patch)))
        for i in range(len(self.cfg.widths)):
            x = _leaky(_in_space(self.space[str(i)], x))
            x = _leaky(_in_time(self.time[str(i)], x))
            if str(i) in self.resizes:
                x = rearrange(x, "b n (h p) (w q) c -> b n h w (p q c)", p=2, q=2)
                x = _leaky(self.resizes[str(i)](x))
        return self.output(x)[..., 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEGANConfig:
    vae: VAEConfig
    discriminator: DiscriminatorConfig


class VAEGAN(nnx.Module):
    """What is trained with an adversarial term: the autoencoder's parts and their critic."""

    def __init__(self, cfg: VAEGANConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(cfg.vae, rngs=rngs)
        self.decoder = Decoder(cfg.vae, rngs=rngs)
        self.discriminator = Discriminator(cfg.discriminator, rngs=rngs)


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.2)


def _in_space(conv: Conv, x: Float[Array, "B n h w c"]) -> Array:
    return rearrange(
        conv(rearrange(x, "b n h w c -> (b n) h w c")), "(b n) ... -> b n ...", b=len(x)
    )


def _in_time(dense: Dense, x: Float[Array, "B n h w c"]) -> Array:
    """A convolution over the chunk before, this one and the one after; zeros at the ends."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    return dense(jnp.concatenate([padded[:, :-2], x, padded[:, 2:]], -1))
