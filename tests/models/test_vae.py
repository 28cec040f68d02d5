"""The autoencoder: causal, chunk by chunk, and started at the linear codec."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.export.bundle import open_model
from sora_jax.models import network
from sora_jax.models.vae import linear
from sora_jax.models.vae.vae import VAE, VAEConfig, fold, pack, unfold, unpack
from tests.tiny_model import tiny_parts, without_networks, write_tiny


@pytest.fixture(scope="module")
def tiny():
    parts = tiny_parts()
    return parts["model"], jax.tree.map(jnp.asarray, parts["params"]["vae"])


@pytest.fixture(scope="module")
def video():
    return jax.random.uniform(jax.random.key(1), (2, 12, 16, 24, 3), minval=-1, maxval=1)


def test_chunks_are_encoded_alone(tiny, video):
    """A chunk's latents are those of the chunk cut out: known chunks never see unknown ones."""
    model, params = tiny
    whole = network.vae_encode(model, params, video)
    assert whole.shape == (2, 3, 2, 3, 4)
    for i in range(3):
        part = network.vae_encode(model, params, video[:, 4 * i : 4 * i + 4])
        np.testing.assert_allclose(part[:, 0], whole[:, i], atol=1e-5)


def test_decoding_is_causal_and_needs_one_chunk_of_the_past(tiny, video):
    """A later chunk changes nothing before it; decoding may start one chunk early and agree."""
    model, params = tiny
    latents = network.vae_encode(model, params, video)
    whole = network.vae_decode(model, params, latents)
    changed = network.vae_decode(model, params, latents.at[:, 1].add(1.0))
    np.testing.assert_array_equal(whole[:, :4], changed[:, :4])
    assert np.abs(whole[:, 8:] - changed[:, 8:]).max() > 1e-3
    late = network.vae_decode(model, params, latents[:, 1:])
    np.testing.assert_allclose(late[:, 4:], whole[:, 8:], atol=1e-5)


@pytest.mark.parametrize("size", [4, 8])
def test_folding_round_trips(size, video):
    np.testing.assert_array_equal(unfold(fold(video, size), size), video)


def test_packing_only_rearranges(tiny, video):
    """With the same weights a packed VAE has the plain one's latents, and decodes to its frames."""
    model, params = tiny
    plain = network.module(VAE, model.vae, params)
    packed = network.module(VAE, dataclasses.replace(model.vae, channels=16, pack=2), params)
    square = video[:, :, :, :16]
    latents, large = plain.encoder(square), packed.encoder(square)
    assert large.shape == (2, 3, 1, 1, 16)
    np.testing.assert_array_equal(unpack(large, 2), latents)
    np.testing.assert_array_equal(pack(latents, 2), large)
    np.testing.assert_array_equal(packed.decoder(large), plain.decoder(latents))


def test_a_packed_latent_holds_whole_latents():
    with pytest.raises(ValueError, match=r"6 channels .* multiple of 4"):
        VAEConfig(channels=6, pack=2, patch=4, widths=(8, 8), blocks=1)


def test_started_at_the_linear_codec_it_is_the_linear_codec(tiny, video):
    """With the networks' outputs at 0, encoding and decoding are the principal components."""
    model, _ = tiny
    folded = np.asarray(fold(video, model.vae.codec_size))
    codec = linear.fit(folded, model.vae.codec_channels)
    params = network.init(VAE, model.vae, jax.random.key(0))
    params = without_networks(linear.start_at(params, codec))
    vae = network.module(VAE, model.vae, jax.tree.map(jnp.asarray, params))
    latents = vae.encoder(video)
    assert np.mean(np.square(latents)) == pytest.approx(1.0, rel=1e-3)
    expected = unfold(jnp.asarray(codec.reconstruct(folded)), model.vae.codec_size)
    np.testing.assert_allclose(vae.decoder(latents), expected, atol=1e-4)


def test_the_linear_codec_is_the_best_linear_one():
    """Its error is the sum of the smallest eigenvalues; another basis does worse."""
    rows = np.random.default_rng(0).normal(size=(500, 6)) * [5, 4, 3, 2, 1, 0.5]
    codec = linear.fit(rows.astype(np.float32), 3)
    error = np.sum(np.square(codec.reconstruct(rows) - rows)) / len(rows)
    values = np.sort(np.linalg.eigvalsh(np.cov(rows.T, bias=True)))
    assert error == pytest.approx(values[:3].sum(), rel=1e-3)


@pytest.mark.parametrize("scale", [2.0, (2.0, 0.5, 3.0, 1.0)], ids=["global", "channel"])
def test_normalised_latents_undo(tiny, video, scale):
    """Encoding applies shift and scale, decoding takes them back."""
    model, params = tiny
    stats = dataclasses.replace(model.latents, scale=scale)
    model = dataclasses.replace(model, latents=stats)
    raw = network.module(VAE, model.vae, params).encoder(video)
    latents = network.vae_encode(model, params, video)
    np.testing.assert_allclose(
        latents, (raw - np.float32(stats.shift)) * np.float32(scale), atol=1e-5
    )
    np.testing.assert_allclose(stats.restore(latents), raw, atol=1e-5)
    decoded = network.module(VAE, model.vae, params).decoder(raw)
    np.testing.assert_allclose(network.vae_decode(model, params, latents), decoded, atol=1e-4)


@pytest.mark.parametrize("scale", [2.0, (2.0, 0.5, 3.0, 1.0)], ids=["global", "channel"])
def test_a_bundle_keeps_either_scale(tmp_path, scale):
    """Bundles of before scales of channels have one number, and go on having it."""
    stats = dataclasses.replace(tiny_parts()["model"].latents, scale=scale)
    model = dataclasses.replace(tiny_parts()["model"], latents=stats)
    assert open_model(write_tiny(tmp_path / "bundle", model=model)).model.latents == stats
