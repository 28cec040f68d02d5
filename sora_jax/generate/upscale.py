"""Frames enlarged by the small network: doubled, tile by tile, as often as it takes."""

import functools
import math
from collections.abc import Iterable, Iterator

import cv2
import jax
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.export.upscaler import UpscalerBundle
from sora_jax.models import network
from sora_jax.models.upscaler import FACTOR, Upscaler, UpscalerConfig

TILE = 256  # pixels of the small picture, the margin among them

type Frame = NDArray[np.uint8]  # H W 3


def upscale(
    bundle: UpscalerBundle, frames: Iterable[Frame], size: tuple[int, int], *, tile: int = TILE
) -> Iterator[Frame]:
    """Frames at `size` (height, width), which is larger and of the same shape.

    Each is doubled until a scaling by less than about 1.4, either way, is left; that is done by
    averaging or by Lanczos. Tiles have a margin as wide as the network sees, so the result is that
    of the whole picture.
    """
    for frame in frames:
        picture = frame.astype(np.float32) / 127.5 - 1
        for _ in range(_turns(frame.shape[:2], size)):
            picture = double(bundle.cfg, bundle.params, picture, tile)
        if picture.shape[:2] != size:
            way = cv2.INTER_AREA if picture.shape[0] > size[0] else cv2.INTER_LANCZOS4
            picture = cv2.resize(picture, size[::-1], interpolation=way)
        yield np.clip(np.round((picture + 1) * 127.5), 0, 255).astype(np.uint8)


def double(
    cfg: UpscalerConfig, params: Params, picture: NDArray[np.float32], tile: int = TILE
) -> NDArray[np.float32]:
    """A picture (H W 3, in [-1, 1]) at twice its size, in tiles that all have one shape."""
    height, width = picture.shape[:2]
    out = np.empty((FACTOR * height, FACTOR * width, 3), np.float32)
    run = functools.partial(_double, cfg, params)
    for top, rows in _tiles(height, tile, cfg.reach):
        for left, columns in _tiles(width, tile, cfg.reach):
            piece = picture[top : top + tile, left : left + tile]
            large = np.asarray(run(piece[None]))[0]
            inner = large[
                FACTOR * (rows.start - top) : FACTOR * (rows.stop - top),
                FACTOR * (columns.start - left) : FACTOR * (columns.stop - left),
            ]
            out[
                FACTOR * rows.start : FACTOR * rows.stop,
                FACTOR * columns.start : FACTOR * columns.stop,
            ] = inner
    return np.clip(out, -1, 1)


def _tiles(side: int, tile: int, margin: int) -> Iterator[tuple[int, slice]]:
    """Where each tile begins, and the part of the picture that is taken from it."""
    done = 0
    while done < side:
        start = min(max(done - margin, 0), max(side - tile, 0))
        end = start + tile
        stop = side if end >= side else end - margin
        yield start, slice(done, stop)
        done = stop


def _turns(size: tuple[int, ...], wanted: tuple[int, int]) -> int:
    return max(1, round(math.log2(wanted[0] / size[0])))


@jax.jit(static_argnums=0)
def _double(cfg: UpscalerConfig, params: Params, x: Float[Array, "B H W 3"]) -> Array:
    return network.module(Upscaler, cfg, params)(x)
