"""The autoencoder of a model by itself: clips to normalised latents and back.

Clips that fit in memory go in batches; a video of any length goes in pieces, with what was seen
before in a cache, so that memory does not grow with it.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.errors import UsageError
from sora_jax.export.bundle import VAEBundle
from sora_jax.models import network
from sora_jax.models.network import LatentStats
from sora_jax.models.vae import stream
from sora_jax.models.vae.vae import TEMPORAL, VAE, VAEConfig

Latents = NDArray[np.float32]  # B n h w C, normalised
Video = NDArray[np.uint8]  # B T H W 3

MAX_PIXELS = 2**22  # frames x height x width that go through the networks at once
PIECE_PIXELS, PIECE_CHUNKS = 2**20, 16  # of a piece of a long video, but one chunk at least


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

    def piece_chunks(self, size: tuple[int, int]) -> int:
        """Chunks of 4 frames of (height, width) that a long video is taken by."""
        return max(1, min(PIECE_CHUNKS, PIECE_PIXELS // (TEMPORAL * size[0] * size[1])))

    def encode_stream(
        self, frames: Iterable[NDArray[np.uint8]], *, tile: int = 0
    ) -> Iterator[Latents]:
        """Latents n h w C of each piece of a video of whole chunks and whole latents.

        `frames` come one by one (H W 3). With `tile` (pixels) pictures are done tile by tile.
        """

        def pieces() -> Iterator[NDArray[np.float32]]:
            source = iter(frames)
            first = next(source)
            length = TEMPORAL * self.piece_chunks(first.shape[:2])
            source = itertools.chain([first], source)
            while piece := list(itertools.islice(source, length)):
                counts.append(len(piece) // TEMPORAL)
                piece += [piece[-1]] * (length - len(piece))  # one program serves the rest too
                yield np.stack(piece)[None].astype(np.float32) / 127.5 - 1

        counts: list[int] = []
        for raw in stream.encode_stream(self.vae, self._params, pieces(), tile=tile):
            yield np.asarray(self.latents.normalise(jnp.asarray(raw[0, : counts.pop(0)])))

    def decode_stream(
        self, pieces: Iterable[NDArray[np.float32]], *, tile: int = 0
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames one by one (H W 3) of pieces of latents n h w C that follow one another.

        Pieces have as many chunks as the first, the last one perhaps fewer.
        """

        def raw() -> Iterator[NDArray[np.float32]]:
            length = 0
            for piece in pieces:
                length = length or len(piece)
                counts.append(len(piece) * TEMPORAL)
                filled = np.pad(piece, ((0, length - len(piece)), (0, 0), (0, 0), (0, 0)))
                yield np.asarray(self.latents.restore(jnp.asarray(filled[None])))

        counts: list[int] = []
        for video in stream.decode_stream(self.vae, self._params, raw(), tile=tile):
            shown = np.round(np.clip((video[0, : counts.pop(0)] + 1) * 127.5, 0, 255))
            yield from shown.astype(np.uint8)

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
    return latents.normalise(raw)


@functools.partial(jax.jit, static_argnames=("vae", "latents"))
def _decode(
    params: Params, normal: Float[Array, "B n h w C"], *, vae: VAEConfig, latents: LatentStats
):
    video = network.module(VAE, vae, params).decoder(latents.restore(normal))
    return jnp.round(jnp.clip((video + 1) * 127.5, 0, 255)).astype(jnp.uint8)
