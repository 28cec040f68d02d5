"""The autoencoder of a model by itself: clips to normalised latents and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.errors import UsageError
from sora_jax.export.bundle import VAEBundle
from sora_jax.models import network
from sora_jax.models.network import LatentStats
from sora_jax.models.vae.vae import VAE, VAEConfig

Latents = NDArray[np.float32]  # B n h w C, normalised
Video = NDArray[np.uint8]  # B T H W 3

MAX_PIXELS = 2**22  # frames x height x width that go through the networks at once


class Codec:
    """Encode and decode clips; as many at once as MAX_PIXELS allows, and at least one."""

    def __init__(self, vae: VAEConfig, latents: LatentStats, params: Params):
        self.vae, self.latents = vae, latents
        self._params = jax.device_put(params)

    @classmethod
    def of(cls, bundle: VAEBundle) -> "Codec":
        """The autoencoder of an opened model."""
        return cls(bundle.vae, bundle.latents, bundle.params)

    def encode(self, video: Video) -> Latents:
        """Latents of clips of whole chunks and whole latents."""
        run = functools.partial(_encode, vae=self.vae, latents=self.latents)
        return self._in_batches(video, run, video[0].size // 3)

    def decode(self, latents: Latents) -> Video:
        """Clips of latents, as 8-bit frames."""
        run = functools.partial(_decode, vae=self.vae, latents=self.latents)
        values = latents[0].size // self.vae.channels * self.vae.patch_values
        return self._in_batches(latents, run, values // 3)

    def _in_batches(self, clips: np.ndarray, run, pixels: int) -> np.ndarray:
        # The last batch is filled up with copies of the last clip, so that one program serves all.
        size = max(1, min(MAX_PIXELS // pixels, len(clips)))
        parts = []
        for start in range(0, len(clips), size):
            rows = np.minimum(np.arange(start, start + size), len(clips) - 1)
            parts.append(np.asarray(run(self._params, clips[rows])))
        return np.concatenate(parts)[: len(clips)]


def check_size(vae: VAEConfig, size: tuple[int, int]) -> None:
    """Raise UsageError for a picture (height, width) that is not whole latents."""
    unit = vae.spatial
    if min(size) < 1 or size[0] % unit or size[1] % unit:
        smaller = [max(side // unit, 1) * unit for side in size]
        larger = [-(-side // unit) * unit for side in size]
        near = " or ".join(dict.fromkeys(f"{w}x{h}" for h, w in (smaller, larger)))
        raise UsageError(
            f"size {size[1]}x{size[0]} is not whole latents of {unit}x{unit} pixels; the nearest "
            f"sizes are {near}"
        )


@functools.partial(jax.jit, static_argnames=("vae", "latents"))
def _encode(params: Params, video: Array, *, vae: VAEConfig, latents: LatentStats):
    raw = network.module(VAE, vae, params).encoder(video.astype(jnp.float32) / 127.5 - 1)
    return (raw - jnp.asarray(latents.shift)) * jnp.asarray(latents.scale)


@functools.partial(jax.jit, static_argnames=("vae", "latents"))
def _decode(
    params: Params, normal: Float[Array, "B n h w C"], *, vae: VAEConfig, latents: LatentStats
):
    raw = normal / jnp.asarray(latents.scale) + jnp.asarray(latents.shift)
    video = network.module(VAE, vae, params).decoder(raw)
    return jnp.round(jnp.clip((video + 1) * 127.5, 0, 255)).astype(jnp.uint8)
