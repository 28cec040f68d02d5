"""The frozen networks that the suite `vae` looks through, as far as they are installed."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.eval.autoencoder import Features, Videos
from sora_jax.export import features
from sora_jax.models.vae import perceptual

LITE0, LPIPS = "efficientnet_lite0", "lpips_vgg"
MIN_SIDE = 16  # pixels of a picture: below, the networks have no place left


def find(size: tuple[int, int], lpips: str | Path | None) -> tuple[list[Features], list[str]]:
    """Networks for pictures of (height, width), and notes of what is not measured and why.

    `lpips` names a file of LPIPS-VGG's weights; a UsageError says what is wrong with it.
    """
    if min(size) < MIN_SIDE:
        return [], [f"no perceptual distance: pictures have less than {MIN_SIDE} pixels a side"]
    found, notes = [], []
    if lpips is not None:
        found.append(_features(LPIPS, features.load(LPIPS, str(lpips))))
    try:
        found.append(_features(LITE0, features.load(LITE0)))
    except UsageError as error:
        notes.append(f"no perceptual and no Frechet distance by {LITE0}: {error}")
    return found, notes


def _features(name: str, weights: Params) -> Features:
    params = jax.device_put(weights)
    near = jax.jit(functools.partial(perceptual.distance, name))
    pool = jax.jit(perceptual.pooled)

    # One clip at a time: its frames are a batch, and all clips have as many.
    def distance(first: Videos, second: Videos) -> NDArray[np.float32]:
        pairs = zip(first, second, strict=True)
        found = [np.mean(near(params, _shown(a), _shown(b))) for a, b in pairs]
        return np.array(found, np.float32)

    def pooled(videos: Videos) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(pool(params, _shown(video))) for video in videos])

    return Features(name=name, distance=distance, pooled=pooled if name == LITE0 else None)


def _shown(video: NDArray[np.uint8]) -> jax.Array:
    return jnp.asarray(video, jnp.float32) / 127.5 - 1
