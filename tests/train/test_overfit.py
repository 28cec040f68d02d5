"""Trained on four clips, the model gives each back when it is asked by its caption."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.toyworld.captions import captions
from data_pipelines.toyworld.render import render
from sora_jax.data.scene import sample_scene
from sora_jax.diffusion.canvas import TaskShares
from sora_jax.export.bundle import Bundle
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import make_request
from sora_jax.models import network as networks
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae import linear
from sora_jax.models.vae.vae import VAE, VAEConfig, fold
from sora_jax.train import loop, runner, vae_run
from sora_jax.train.dit_run import DiTTraining, LatentClips, make_rows, plan
from sora_jax.train.objectives import DiffusionConfig
from sora_jax.train.optimizer import OptimizerConfig
from tests.tiny_model import without_networks
from tests.train.helpers import one_device

STEPS = 600


def linear_vae(videos, channels: int):
    """A VAE that is its linear codec: networks of weight 0, so that nothing else is trained."""
    cfg = VAEConfig(
        channels=channels, patch=8, widths=(16,), blocks=1, deep_encoder=False, dtype="float32"
    )
    codec = linear.fit(np.asarray(fold(jnp.asarray(videos, jnp.float32) / 127.5 - 1, 8)), channels)
    params = linear.start_at(networks.init(VAE, cfg, jax.random.key(0)), codec)
    params = without_networks(params)
    return cfg, jax.tree.map(jnp.asarray, params)


def test_four_clips_are_learned_by_heart(tmp_path):
    """Samples of the four captions are above 30 dB against the four clips."""
    scenes = [sample_scene("small", seed) for seed in range(4)]
    videos = np.stack([render(scene) for scene in scenes])
    texts = [captions(scene, 0)[0].text for scene in scenes]
    tokenizer = Tokenizer.from_captions(texts * 2, max_tokens=16)
    vae_cfg, vae = linear_vae(videos, channels=48)
    model = ModelConfig(
        vae=vae_cfg,
        dit=DiTConfig(width=128, depth=3, num_heads=4, dtype="float32"),
        text=TextConfig(
            width=128,
            depth=1,
            num_heads=2,
            vocab_size=tokenizer.vocab_size,
            max_tokens=16,
            dtype="float32",
        ),
        latents=LatentStats.identity(48),
    )
    model = dataclasses.replace(model, latents=vae_run.measure_latents(vae_cfg, vae, videos))
    sampling = SamplingConfig(
        num_frames=16, size=(32, 32), fps=8.0, steps=24, cfg_scale=1.0, shift=4.0
    )
    bundle = Bundle(
        model=model,
        params={"vae": vae, "dit": {}},
        tokenizer=tokenizer,
        sampling=sampling,
        path=tmp_path,
        digest="",
    )
    latents = Engine(bundle).encode(videos)
    only_text = TaskShares(
        text=1.0, first=0, prefix=0, suffix=0, both_ends=0, key_frames=0, random_frames=0, box=0
    )
    cfg = DiTTraining(
        model=model,
        diffusion=DiffusionConfig(tasks=only_text),
        optimizer=OptimizerConfig(warmup=10, ns_steps=3),
        loop=loop.LoopConfig(steps=STEPS, batch_size=8),
        still_share=0.0,
    )
    clips = LatentClips(
        latents=latents,
        held=latents,
        captions=[[(text, 0.0, 2.0)] for text in texts],
        fps=8.0,
        size=(32, 32),
    )
    mesh = one_device()
    built = runner.build(plan(cfg), mesh)
    state, rows = built.fresh(), make_rows(cfg, clips, tokenizer, seed=0)
    for i in range(STEPS):
        state, _metrics = built.step_fn(state, jax.device_put(next(rows)), i / STEPS)
    engine = Engine(dataclasses.replace(bundle, params={"vae": vae, "dit": state.ema}))
    asked = [make_request(text, seed=9) for text in texts]
    samples = engine.decode(engine.sample(asked, sampling))
    mse = np.mean(np.square(samples.astype(np.float32) - videos), axis=(1, 2, 3, 4))
    assert np.all(10 * np.log10(255**2 / mse) > 30), mse
