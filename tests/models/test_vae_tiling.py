"""Tiled equals whole. If this fails, large pictures show seams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.toyworld.render import render
from sora_jax.data.scene import sample_scene
from sora_jax.export.bundle import open_model
from sora_jax.models import network
from sora_jax.models.vae import tiling
from sora_jax.models.vae.vae import VAE
from tests.tiny_model import tiny_parts

SIZE, TILE = 160, 64  # three tiles a side, which overlap by 16; the model was trained on 32


@pytest.fixture(scope="module")
def trained():
    """A trained autoencoder and a mosaic of its world, five times its training size."""
    bundle = open_model("toyworld")
    scenes = [render(sample_scene("small", seed))[:8] for seed in range(25)]
    rows = [np.concatenate(scenes[i : i + 5], 2) for i in range(0, 25, 5)]
    mosaic = np.roll(np.concatenate(rows, 1), (5, 11), (1, 2))[None]  # edges where no tile has one
    cfg = dataclasses.replace(bundle.model.vae, dtype="float32")
    return cfg, bundle.params["vae"], jnp.asarray(mosaic, jnp.float32) / 127.5 - 1


def decibels(a, b):
    return 10 * np.log10(4 / np.mean(np.square(np.asarray(a) - np.asarray(b))))


def test_tiled_equals_whole_without_seams(trained):
    """Over 45 dB at 25% overlap; gradients at the borders of tiles are those of the whole."""
    cfg, params, video = trained
    vae = network.module(VAE, cfg, params)
    latents = jax.jit(vae.encoder)(video)
    whole = jax.jit(vae.decoder)(latents)
    tiled = tiling.decode_tiled(cfg, params, latents, tile=TILE)
    assert decibels(tiled, whole) >= 45
    assert decibels(tiling.encode_tiled(cfg, params, video, tile=TILE), latents) >= 45
    assert seam(tiled) <= 1.05 * seam(whole)


def seam(video):
    """Mean gradient where tiles begin or end, over that of elsewhere."""
    borders = [48, 64, 96, 112]
    ratios = []
    for axis in (2, 3):
        slope = np.abs(np.diff(np.asarray(video), axis=axis)).mean((0, 1, 5 - axis, 4))
        there = np.isin(np.arange(len(slope)) + 1, borders)
        ratios.append(slope[there].mean() / slope[~there].mean())
    return np.mean(ratios)


@pytest.mark.parametrize(
    ("size", "tile", "overlap"),
    [(13, 4, 0.25), (9, 8, 0.25), (16, 4, 0.5), (7, 3, 0.0), (3, 3, 0.25), (50, 12, 0.3)],
)
def test_tiles_cover_a_side_and_their_weights_sum_to_one(size, tile, overlap):
    """Each place counts once, the ends are reached, and neighbours overlap by what was asked."""
    starts = tiling.starts(size, tile, overlap)
    assert starts[0] == 0 and starts[-1] == size - tile
    assert all(b - a <= tile - overlap * tile for a, b in zip(starts, starts[1:], strict=False))
    weights = tiling._weights(starts, tile, 8)
    total = np.zeros(8 * size)
    for start, weight in zip(starts, weights, strict=True):
        assert (weight >= 0).all()
        total[8 * start : 8 * (start + tile)] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.fixture(scope="module")
def tiny():
    parts = tiny_parts()
    return parts["model"].vae, jax.tree.map(jnp.asarray, parts["params"]["vae"])


@pytest.mark.parametrize("size", [(40, 24), (16, 72), (64, 8)], ids=str)
def test_far_from_borders_a_tile_is_the_whole(tiny, size):
    """Any size: with an overlap wider than what a place can see, nothing differs at all."""
    cfg, params = tiny
    video = jax.random.uniform(jax.random.key(2), (1, 8, *size, 3), minval=-1, maxval=1)
    vae = network.module(VAE, cfg, params)
    latents = jax.jit(vae.encoder)(video)
    how = dict(tile=64, overlap=0.5)
    np.testing.assert_allclose(tiling.encode_tiled(cfg, params, video, **how), latents, atol=1e-5)
    whole = jax.jit(vae.decoder)(latents)
    np.testing.assert_allclose(tiling.decode_tiled(cfg, params, latents, **how), whole, atol=1e-5)


def test_tiles_share_one_program(tiny):
    """Many tiles are one loop over one tile: the program of 4 is as long as that of 36."""
    cfg, params = tiny

    def lines(side):
        latents = jnp.zeros((1, 2, side, side, cfg.channels))
        lowered = tiling.decode_tiled.lower(cfg, params, latents, tile=32)
        return len(lowered.as_text().splitlines())

    assert abs(lines(7) - lines(19)) < 5


@pytest.mark.parametrize(
    ("tile", "overlap", "message"), [(20, 0.25, "multiple of 8"), (16, 0.6, "0 to 0.5")]
)
def test_wrong_tiles_name_the_remedy(tiny, tile, overlap, message):
    cfg, params = tiny
    with pytest.raises(ValueError, match=message):
        tiling.decode_tiled(cfg, params, jnp.zeros((1, 1, 4, 4, 4)), tile=tile, overlap=overlap)
