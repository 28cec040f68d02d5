"""A bundle of an autoencoder alone, and the autoencoder of a whole one."""

import jax
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.export.bundle import ClipForm, open_model, open_vae, write_vae
from tests.tiny_model import tiny_parts, write_tiny

FORM = ClipForm(size=(16, 24), num_frames=8, fps=12.5)


def write(directory, **changes):
    parts = tiny_parts()
    values = dict(
        vae=parts["model"].vae,
        latents=parts["model"].latents,
        clips=FORM,
        params=parts["params"]["vae"],
        card="# Alone\n",
        dtype="float32",
    )
    return write_vae(directory, **(values | changes))


def test_everything_comes_back(tmp_path):
    parts = tiny_parts()
    opened = open_vae(write(tmp_path / "model"))
    assert (opened.vae, opened.latents) == (parts["model"].vae, parts["model"].latents)
    assert opened.clips == FORM
    jax.tree.map(np.testing.assert_array_equal, opened.params, parts["params"]["vae"])


def test_the_autoencoder_of_a_whole_model_is_opened_without_its_transformer(tmp_path):
    whole = write_tiny(tmp_path / "model", dtype="float32")
    alone = open_vae(write(tmp_path / "alone"))
    (whole / "dit.safetensors").unlink()
    opened = open_vae(whole)
    assert opened.weights == alone.weights and opened.vae == alone.vae
    assert opened.clips == ClipForm(size=(16, 16), num_frames=16, fps=8.0)


def test_the_embedded_model_has_an_autoencoder():
    opened = open_vae("toyworld")
    assert opened.vae.channels == 32 and opened.clips.size == (32, 32)
    model = open_model("toyworld")
    jax.tree.map(np.testing.assert_array_equal, opened.params, model.params["vae"])


def test_it_is_no_model_that_generates(tmp_path):
    with pytest.raises(UsageError, match="alone holds an autoencoder alone.*has a transformer"):
        open_model(write(tmp_path / "alone"))


def test_a_changed_byte_is_found(tmp_path):
    directory = write(tmp_path / "model")
    body = bytearray((directory / "vae.safetensors").read_bytes())
    body[-1] ^= 1
    (directory / "vae.safetensors").write_bytes(body)
    with pytest.raises(UsageError, match=r"vae\.safetensors is not the file"):
        open_vae(directory)


def test_weights_of_another_config_are_named(tmp_path):
    import dataclasses

    other = dataclasses.replace(tiny_parts()["model"].vae, widths=(8, 12))
    with pytest.raises(UsageError, match=r"decoder\.network.* of shape .* where this version"):
        open_vae(write(tmp_path / "model", vae=other))
