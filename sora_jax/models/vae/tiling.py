"""Pictures of any size: tiles of one size, encoded or decoded one after the other and blended.

Tiles are spread evenly, so that any two neighbours overlap by at least what was asked. A network
knows nothing of what lies beyond its tile, and what it says near an inner edge is worse for it. So
the outer `DISCARD` of an overlap is not used on either side, and in between weight passes linearly
from one tile to the next. Pure functions under jit; there is one program of a tile in it.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.models import network
from sora_jax.models.vae.vae import VAE, VAEConfig

DISCARD = 0.375  # of an overlap, at each of its ends; docs/vae.md has what it was compared with


@functools.partial(jax.jit, static_argnums=0, static_argnames=("tile", "overlap"))
def encode_tiled(
    cfg: VAEConfig,
    params: Params,
    video: Float[Array, "B T H W 3"],
    *,
    tile: int,
    overlap: float = 0.25,
) -> Float[Array, "B n h w C"]:
    """Raw latents of a video in [-1, 1], from tiles of `tile` x `tile` pixels.

    `overlap` is the least share of a tile that it has in common with its neighbour, 0 to 0.5. A
    side that is shorter than a tile is taken whole.
    """
    encoder = network.module(VAE, cfg, params).encoder
    grid = video.shape[2] // cfg.spatial, video.shape[3] // cfg.spatial
    return _tiled(encoder, (video,), grid, (cfg.spatial, 1), _cells(cfg, tile), overlap)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("tile", "overlap"))
def decode_tiled(
    cfg: VAEConfig,
    params: Params,
    latents: Float[Array, "B n h w C"],
    before: Float[Array, "B 1 h w C"] | None = None,
    *,
    tile: int,
    overlap: float = 0.25,
) -> Float[Array, "B T H W 3"]:
    """Video of raw latents, tiles as in `encode_tiled`; `before` as in the decoder."""
    decoder = network.module(VAE, cfg, params).decoder
    before = jnp.zeros_like(latents[:, :1]) if before is None else before
    grid = latents.shape[2], latents.shape[3]
    return _tiled(decoder, (latents, before), grid, (1, cfg.spatial), _cells(cfg, tile), overlap)


def _cells(cfg: VAEConfig, tile: int) -> int:
    if tile < cfg.spatial or tile % cfg.spatial:
        raise ValueError(f"tile is {tile} pixels; use a multiple of {cfg.spatial}")
    return tile // cfg.spatial


def _tiled(
    run: Callable[..., Array],
    inputs: tuple[Array, ...],
    grid: tuple[int, int],
    units: tuple[int, int],
    tile: int,
    overlap: float,
) -> Array:
    """The weighted sum of `run` over tiles of `inputs`.

    `grid` and `tile` count latents; a latent is `units[0]` places of an input and `units[1]` of
    what `run` gives.
    """
    if not 0 <= overlap <= 0.5:
        raise ValueError(f"overlap is {overlap}; it must be from 0 to 0.5")
    sides = tuple(min(tile, side) for side in grid)
    places = [starts(size, side, overlap) for size, side in zip(grid, sides, strict=True)]
    weights = [_weights(starts, side, units[1]) for starts, side in zip(places, sides, strict=True)]

    def cut(x: Array, start: Array, unit: int) -> Array:
        at = (0, 0, unit * start[0], unit * start[1], 0)
        size = (*x.shape[:2], unit * sides[0], unit * sides[1], x.shape[4])
        return jax.lax.dynamic_slice(x, at, size)

    def add(total: Array, item: tuple[Array, Array, Array]) -> tuple[Array, None]:
        start, rows, columns = item
        part = run(*(cut(x, start, units[0]) for x in inputs))
        part = part * rows[:, None, None] * columns[:, None]
        at = (0, 0, units[1] * start[0], units[1] * start[1], 0)
        return jax.lax.dynamic_update_slice(total, cut(total, start, units[1]) + part, at), None

    first = jax.eval_shape(
        lambda *xs: run(*(cut(x, jnp.zeros(2, int), units[0]) for x in xs)), *inputs
    )
    size = (*first.shape[:2], units[1] * grid[0], units[1] * grid[1], first.shape[4])
    order = list(itertools.product(*(range(len(starts)) for starts in places)))
    items = (
        jnp.asarray(np.array([(places[0][i], places[1][j]) for i, j in order], np.int32)),
        jnp.asarray(np.stack([weights[0][i] for i, _ in order])),
        jnp.asarray(np.stack([weights[1][j] for _, j in order])),
    )
    return jax.lax.scan(add, jnp.zeros(size, first.dtype), items)[0]


def starts(size: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side of `size`: evenly, the last one at the end."""
    if size == tile:
        return [0]
    step = max(tile - int(np.ceil(overlap * tile)), 1)
    last = int(np.ceil((size - tile) / step))
    return [i * (size - tile) // last for i in range(last + 1)]


def _weights(starts: list[int], tile: int, unit: int) -> NDArray[np.float32]:
    """Weight of each place of each tile along a side, (tiles, unit * tile); they sum to 1."""
    ends = [start + tile for start in starts]
    size = unit * ends[-1]
    weights = np.zeros((len(starts), size))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        place = np.arange(unit * start, unit * end) + 0.5
        weight = np.ones(unit * tile)
        if i > 0:
            weight *= _rise(place - unit * start, unit * (ends[i - 1] - start))
        if i + 1 < len(starts):
            weight *= _rise(unit * end - place, unit * (end - starts[i + 1]))
        weights[i, unit * start : unit * end] = weight
    weights /= weights.sum(0)
    parts = [weights[i, unit * start :][: unit * tile] for i, start in enumerate(starts)]
    return np.stack(parts).astype(np.float32)


def _rise(inward: NDArray, overlap: int) -> NDArray:
    """From 0 at an inner edge to 1 across the overlap, of which both ends are flat."""
    if overlap <= 0:
        return np.ones_like(inward)
    return np.clip((inward / overlap - DISCARD) / (1 - 2 * DISCARD), 0, 1)
