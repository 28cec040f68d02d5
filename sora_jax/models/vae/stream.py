"""Videos of any length, chunk by chunk: what is remembered of the past is an explicit cache.

`encode_chunks` and `decode_chunks` are pure functions of that cache: run over a video in pieces of
any number of chunks, they give what the whole video gives. A piece size has one compiled program.
The generators go over videos that fit in no memory, and with `tile` (pixels) over pictures that do
not: then each piece is done tile by tile (`tiling.py`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.models import network
from sora_jax.models.vae import tiling
from sora_jax.models.vae.vae import VAE, VAEConfig

type Cache = dict[str, Array]
type Step = Callable[[Cache, Array], tuple[Array, Cache]]


def init_cache(cfg: VAEConfig, batch: int, height: int, width: int) -> Cache:
    """What is known before the first chunk of videos of `height` x `width` pixels: zeros.

    {"before": the latents of the chunk before, B 1 h w C}. The decoder looks at them; the encoder
    only writes them, so decoding can go on where encoding stopped.
    """
    if height % cfg.spatial or width % cfg.spatial:
        raise ValueError(
            f"{height} x {width} pixels are not whole latents; use multiples of {cfg.spatial}"
        )
    size = (batch, 1, height // cfg.spatial, width // cfg.spatial, cfg.channels)
    return {"before": jnp.zeros(size)}


@functools.partial(jax.jit, static_argnums=0, static_argnames=("tile", "overlap"))
def encode_chunks(
    cfg: VAEConfig,
    params: Params,
    cache: Cache,
    video: Float[Array, "B T H W 3"],
    *,
    tile: int = 0,
    overlap: float = 0.25,
) -> tuple[Float[Array, "B n h w C"], Cache]:
    """The next chunks of a video in [-1, 1] -> their raw latents. `tile` 0: whole pictures."""
    if tile:
        latents = tiling.encode_tiled(cfg, params, video, tile=tile, overlap=overlap)
    else:
        latents = network.module(VAE, cfg, params).encoder(video)
    return latents, {"before": latents[:, -1:]}


@functools.partial(jax.jit, static_argnums=0, static_argnames=("tile", "overlap"))
def decode_chunks(
    cfg: VAEConfig,
    params: Params,
    cache: Cache,
    latents: Float[Array, "B n h w C"],
    *,
    tile: int = 0,
    overlap: float = 0.25,
) -> tuple[Float[Array, "B T H W 3"], Cache]:
    """The next raw latents of a video -> their frames, about in [-1, 1] (not clipped)."""
    before = cache["before"]
    if tile:
        video = tiling.decode_tiled(cfg, params, latents, before, tile=tile, overlap=overlap)
    else:
        video = network.module(VAE, cfg, params).decoder(latents, before)
    return video, {"before": latents[:, -1:]}


def encode_stream(
    cfg: VAEConfig,
    params: Params,
    pieces: Iterable[Array | NDArray],
    *,
    tile: int = 0,
    overlap: float = 0.25,
) -> Iterator[NDArray]:
    """Raw latents (B n h w C) of each piece (B T H W 3) of a video, of any number of chunks."""
    step = functools.partial(encode_chunks, cfg, params, tile=tile, overlap=overlap)
    return _stream(step, cfg, pieces, 1)


def decode_stream(
    cfg: VAEConfig,
    params: Params,
    pieces: Iterable[Array | NDArray],
    *,
    tile: int = 0,
    overlap: float = 0.25,
) -> Iterator[NDArray]:
    """Frames (B T H W 3) of each piece (B n h w C) of raw latents, of any number of chunks."""
    step = functools.partial(decode_chunks, cfg, params, tile=tile, overlap=overlap)
    return _stream(step, cfg, pieces, cfg.spatial)


def _stream(
    step: Step, cfg: VAEConfig, pieces: Iterable[Array | NDArray], pixels: int
) -> Iterator[NDArray]:
    """`step` along `pieces`, whose rows and columns stand for `pixels` pixels each.

    Each result is fetched before the next piece is asked for: memory holds one piece.
    """
    cache: Cache | None = None
    for piece in pieces:
        if cache is None:
            batch, _, height, width, _ = piece.shape
            cache = init_cache(cfg, batch, pixels * height, pixels * width)
        found, cache = step(cache, jnp.asarray(piece, jnp.float32))
        yield np.asarray(found)
