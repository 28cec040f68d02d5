"""What a restart reads of a finished autoencoder is what was trained, or nothing."""

import dataclasses

import jax
import numpy as np
import pytest

from sora_jax import config
from sora_jax.cli import kept_vae
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.train.vae_run import TrainedVAE
from tests.tiny_model import tiny_parts


@pytest.fixture
def kept(tmp_path):
    """A kept autoencoder, and what was trained."""
    parts = tiny_parts()
    cfg = config.resolve(ExperimentConfig, config.load("quickstart"))
    loss = dataclasses.replace(cfg.vae.loss, rough_share=0.0)
    part = dataclasses.replace(cfg.vae, model=parts["model"].vae, loss=loss)
    cfg = dataclasses.replace(cfg, vae=part)
    params = jax.tree.map(lambda x: x * np.float32(1 + 1e-6), parts["params"]["vae"])
    trained = TrainedVAE(params, parts["model"].latents, 31.5, 27.5, 100, 8.0, compiles=1)
    kept_vae.write(tmp_path, cfg, trained)
    return tmp_path, trained


def test_it_comes_back_to_the_bit(kept):
    workdir, trained = kept
    found = kept_vae.read(workdir)
    assert found is not None
    assert dataclasses.replace(found, params={}) == dataclasses.replace(
        trained, params={}, compiles=0
    )
    jax.tree.map(np.testing.assert_array_equal, found.params, trained.params)


def test_nothing_is_read_before_it_is_whole(kept):
    """The figures come last: without them a stop came between."""
    workdir, _ = kept
    (workdir / "trained.json").unlink()
    assert kept_vae.read(workdir) is None


@pytest.mark.parametrize("name", ["bundle/vae.safetensors", "bundle/config.json", "trained.json"])
def test_what_is_damaged_is_not_taken(kept, name, caplog):
    workdir, _ = kept
    raw = bytearray((workdir / name).read_bytes())
    raw[len(raw) // 2] ^= 0x80
    (workdir / name).write_bytes(raw)
    assert kept_vae.read(workdir) is None
    assert "its checkpoint is read instead" in caplog.text
