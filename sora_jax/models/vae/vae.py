"""The video autoencoder: chunks of 4 frames to latents and back.

The encoder sees one chunk at a time, so any set of chunks can be encoded alone and a known chunk's
latents never depend on what is unknown. The decoder looks at the chunk before, never ahead: both
stream. Frames are folded into channels, so that all the work is 2-D convolutions and products.

The decoder is a linear codec plus a network, and so is the encoder if it is deep. The linear part
starts at the principal components of the data (`linear.py`), which is worth minutes of training.
Large pictures get large latents by packing: a square of the codec's latents becomes one, in its
channels. The codec itself stays small, so what it learns of one place it knows of all.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from sora_jax.arrays import Array, Float
from sora_jax.models.layers import Conv, Dense, rms_norm

TEMPORAL = 4  # frames a chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEConfig:
    channels: int  # of a latent
    pack: int = 1  # side of the square of the codec's neighbouring latents that are one latent
    patch: int  # pixels folded into channels before the first level
    widths: tuple[int, ...]  # of the levels, from fine to coarse; each level halves the picture
    blocks: int  # a level
    mlp_ratio: int = 4
    norm: bool = True  # blocks see root mean squares of 1; without, a network keeps the contrast
    deep_encoder: bool = True  # a network beside the linear encoder
    dtype: str = "bfloat16"

    def __post_init__(self):
        if self.channels % self.pack**2:
            raise ValueError(
                f"vae: {self.channels} channels do not hold {self.pack} x {self.pack} latents; "
                f"take a multiple of {self.pack**2}"
            )

    @property
    def codec_size(self) -> int:
        """Pixels along a side of a latent before it is packed with its neighbours."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def codec_channels(self) -> int:
        """Channels of a latent before it is packed."""
        return self.channels // self.pack**2

    @property
    def spatial(self) -> int:
        """Pixels along a side of one latent."""
        return self.codec_size * self.pack

    @property
    def patch_values(self) -> int:
        """Pixel values that one latent stands for."""
        return TEMPORAL * self.spatial**2 * 3


def fold(video: Float[Array, "B T H W 3"], size: int) -> Float[Array, "B n h w c"]:
    """Chunks of 4 frames and squares of `size` pixels into channels."""
    return rearrange(
        video, "b (n k) (h p) (w q) c -> b n h w (k p q c)", k=TEMPORAL, p=size, q=size
    )


def unfold(folded: Float[Array, "B n h w c"], size: int) -> Float[Array, "B T H W 3"]:
    """Inverse of `fold`."""
    return rearrange(
        folded, "b n h w (k p q c) -> b (n k) (h p) (w q) c", k=TEMPORAL, p=size, q=size
    )


def pack(latents: Float[Array, "B n h w c"], size: int) -> Float[Array, "B n y x C"]:
    """Squares of `size` latents into channels."""
    return rearrange(latents, "b n (h p) (w q) c -> b n h w (p q c)", p=size, q=size)


def unpack(latents: Float[Array, "B n y x C"], size: int) -> Float[Array, "B n h w c"]:
    """Inverse of `pack`."""
    return rearrange(latents, "b n h w (p q c) -> b n (h p) (w q) c", p=size, q=size)


class Block(nnx.Module):
    """Residual block: 3x3 convolution to see the neighbours, then an MLP of each place."""

    def __init__(self, width: int, cfg: VAEConfig, *, rngs: nnx.Rngs):
        names = ("channels_in", "channels_out")
        hidden = cfg.mlp_ratio * width
        self.conv = Conv((width, width), names, rngs=rngs, dtype=cfg.dtype)
        self.up = Dense((width, hidden), names, rngs=rngs, dtype=cfg.dtype)
        self.down = Dense((hidden, width), names, rngs=rngs, dtype=cfg.dtype, scale=0.1)
        self.cfg = cfg

    def __call__(self, x: Float[Array, "B H W C"]) -> Array:
        x = x + self.conv(jax.nn.silu(_normed(x, self.cfg)))
        return x + self.down(jax.nn.silu(self.up(_normed(x, self.cfg))))


def _normed(x: Array, cfg: VAEConfig) -> Array:
    return rms_norm(x) if cfg.norm else x


class Pyramid(nnx.Module):
    """Residual blocks at one resolution after another, each twice as coarse or twice as fine."""

    def __init__(
        self,
        ends: tuple[int, int],
        widths: tuple[int, ...],
        cfg: VAEConfig,
        *,
        is_up: bool,
        rngs: nnx.Rngs,
    ):
        """From `ends[0]` channels to `ends[1]`; finer from level to level if `is_up`."""

        def dense(size, scale=1.0):
            names = ("channels_in", "channels_out")
            return Dense(size, names, rngs=rngs, dtype=cfg.dtype, scale=scale)

        self.is_up, self.cfg = is_up, cfg
        self.input = dense((ends[0], widths[0]))
        self.levels = nnx.Dict(
            {
                str(i): nnx.Dict({str(j): Block(width, cfg, rngs=rngs) for j in range(cfg.blocks)})
                for i, width in enumerate(widths)
            }
        )
        self.resizes = nnx.Dict(
            {
                str(i): dense((this, 4 * after) if self.is_up else (4 * this, after))
                for i, (this, after) in enumerate(itertools.pairwise(widths))
            }
        )
        self.output = dense((widths[-1], ends[1]), scale=0.1)

    def __call__(self, x: Float[Array, "B n h w c"]) -> Array:
        batch = x.shape[0]
        x = self.input(rearrange(x, "b n h w c -> (b n) h w c"))
        for i in range(len(self.levels)):
            for j in range(len(self.levels[str(i)])):
                x = self.levels[str(i)][str(j)](x)
            if str(i) in self.resizes:
                x = self._resize(x, self.resizes[str(i)])
        x = self.output(_normed(x, self.cfg)).astype(jnp.float32)
        return rearrange(x, "(b n) h w c -> b n h w c", b=batch)

    def _resize(self, x: Float[Array, "B H W C"], dense: Dense) -> Array:
        if self.is_up:
            return rearrange(dense(x), "b h w (p q c) -> b (h p) (w q) c", p=2, q=2)
        return dense(rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=2, q=2))


class Encoder(nnx.Module):
    """Video -> latents, chunk by chunk; a linear map of each patch, or that and a network."""

    def __init__(self, cfg: VAEConfig, *, rngs: nnx.Rngs):
        size = (TEMPORAL * cfg.codec_size**2 * 3, cfg.codec_channels)
        self.linear = Dense(size, ("channels_in", None), rngs=rngs, dtype="float32")
        ends = (TEMPORAL * cfg.patch**2 * 3, cfg.codec_channels)
        self.network = (
            Pyramid(ends, cfg.widths, cfg, is_up=False, rngs=rngs) if cfg.deep_encoder else None
        )
        self.cfg = cfg

    def __call__(self, video: Float[Array, "B T H W 3"]) -> Float[Array, "B n h w C"]:
        latents = self.linear(fold(video, self.cfg.codec_size))
        if self.network is not None:
            latents = latents + self.network(fold(video, self.cfg.patch))
        return pack(latents, self.cfg.pack)


class Decoder(nnx.Module):
    """Latents -> video; causal across chunks."""

    def __init__(self, cfg: VAEConfig, *, rngs: nnx.Rngs):
        size = (cfg.codec_channels, TEMPORAL * cfg.codec_size**2 * 3)
        self.linear = Dense(size, (None, "channels_out"), rngs=rngs, dtype="float32")
        ends = (2 * cfg.codec_channels, TEMPORAL * cfg.patch**2 * 3)
        self.network = Pyramid(ends, cfg.widths[::-1], cfg, is_up=True, rngs=rngs)
        self.cfg = cfg

    def __call__(
        self,
        latents: Float[Array, "B n h w C"],
        before: Float[Array, "B 1 h w C"] | None = None,
    ) -> Float[Array, "B T H W 3"]:
        """`before`: the chunk before the first, which sees zeros if there is none."""
        before = jnp.zeros_like(latents[:, :1]) if before is None else before
        past = jnp.concatenate([before.astype(latents.dtype), latents[:, :-1]], 1)
        latents, past = unpack(latents, self.cfg.pack), unpack(past, self.cfg.pack)
        detail = self.network(jnp.concatenate([latents, past], -1))
        return unfold(self.linear(latents), self.cfg.codec_size) + unfold(detail, self.cfg.patch)


class VAE(nnx.Module):
    """Encoder and decoder; the posterior's spread is a constant of the training loss."""

    def __init__(self, cfg: VAEConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(cfg, rngs=rngs)
        self.decoder = Decoder(cfg, rngs=rngs)
