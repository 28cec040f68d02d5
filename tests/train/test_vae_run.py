"""What is measured of a trained autoencoder. If this fails, the transformer sees other latents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import network
from sora_jax.train.vae_run import measure_latents
from tests.tiny_model import tiny_parts


@pytest.fixture(scope="module")
def tiny():
    parts = tiny_parts()
    return parts["model"], jax.tree.map(jnp.asarray, parts["params"]["vae"])


@pytest.fixture(scope="module")
def videos():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 16, 16, 3), dtype=np.uint8)


def normalised(model, params, videos, stats):
    video = jnp.asarray(videos, jnp.float32) / 127.5 - 1
    latents = network.vae_encode(dataclasses.replace(model, latents=stats), params, video)
    return np.asarray(latents).reshape(-1, model.vae.channels)


def test_one_scale_makes_the_mean_variance_one(tiny, videos):
    """Channels keep their variances, which are stated."""
    model, params = tiny
    stats = measure_latents(model.vae, params, videos, "global")
    rows = normalised(model, params, videos, stats)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.var(0), stats.variance, rtol=1e-4)
    assert np.mean(stats.variance) == pytest.approx(1, rel=1e-6)
    assert max(stats.variance) > 1.1  # so there is something to keep


def test_a_scale_for_each_channel_makes_every_std_one(tiny, videos):
    model, params = tiny
    stats = measure_latents(model.vae, params, videos, "channel")
    rows = normalised(model, params, videos, stats)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(stats.variance, 1, rtol=1e-6)


def test_a_channel_that_never_changes_stays_at_zero(tiny, videos):
    """And takes nothing with it."""
    model, params = tiny

    params = jax.tree.map(lambda x: x, params)  # dicts of its own
    for name in ("linear", "output"):
        owner = params["encoder"] if name == "linear" else params["encoder"]["network"]
        owner[name] = {key: value.at[..., 1].set(0.0) for key, value in owner[name].items()}
    stats = measure_latents(model.vae, params, videos, "channel")
    rows = normalised(model, params, videos, stats)
    assert stats.variance[1] == 0 and np.isfinite(stats.scale).all()
    np.testing.assert_allclose(rows[:, 1], 0, atol=1e-6)
    np.testing.assert_allclose(rows[:, [0, 2, 3]].std(0), 1, atol=1e-3)
