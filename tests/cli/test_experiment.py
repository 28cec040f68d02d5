"""Settings that contradict each other are refused before anything is run."""

import pytest

from sora_jax import config
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.errors import UsageError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vae.model.deep_encoder": "True"}, ["deep_encoder", "rough_share"]),
        ({"vae.model.pack": "3"}, ["32 channels", "multiple of 9"]),
        ({"sampling.num_frames": "8"}, ["sampling.num_frames", "8", "16"]),
        ({"sampling.prediction": "velocity"}, ["sampling.prediction", "'velocity'", "'x0'"]),
    ],
)
def test_contradictions_are_named(changes, words):
    with pytest.raises(UsageError) as caught:
        config.resolve(ExperimentConfig, config.load("quickstart", changes))
    for word in words:
        assert word in str(caught.value)


EXPERIMENTS = ["quickstart", "toyworld", "videos", "toyworld:smoke"]
EXPERIMENTS += ["vae/f8t4c16", "experiments/vae/f16t4c48.py", "vae/f16t4c48:smoke"]
EXPERIMENTS += ["upscaler", "upscaler:smoke"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiments_resolve(name):
    assert config.resolve(ExperimentConfig, config.load(name, {})).name


def test_a_deep_encoder_that_is_trained_is_fine():
    changes = {"vae.model.deep_encoder": "True", "vae.loss.rough_share": "0.5"}
    cfg = config.resolve(ExperimentConfig, config.load("quickstart", changes))
    assert cfg.vae.model.deep_encoder
