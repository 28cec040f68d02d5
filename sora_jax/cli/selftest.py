"""The doctor's self-test: four clips learned by heart in seconds, saved, loaded and sampled.

Everything is the real thing, but small: the renderer's clips at half size, a linear codec as the
autoencoder, a transformer of two blocks, the training step, checkpoints, the sampling engine.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from data_pipelines.toyworld.captions import captions
from data_pipelines.toyworld.render import render
from sora_jax.data.scene import sample_scene
from sora_jax.diffusion.canvas import TaskShares
from sora_jax.export.bundle import Bundle
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import make_request
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae import linear
from sora_jax.models.vae.vae import VAE, VAEConfig, fold
from sora_jax.sharding import mesh as meshes
from sora_jax.train import dit_run, loop, runner, vae_run
from sora_jax.train.checkpoint import Checkpoints, Position
from sora_jax.train.objectives import DiffusionConfig
from sora_jax.train.optimizer import OptimizerConfig

CLIPS, STEPS = 4, 300
SHRINK = 2  # sides of the clips
GOAL = 20.0  # dB of each sample against its clip
_SEED = 9
_ONLY_TEXT = TaskShares(
    text=1.0, first=0, prefix=0, suffix=0, both_ends=0, key_frames=0, random_frames=0, box=0
)

# Name, status, what was found, remedy: a line of the doctor's.
type Found = tuple[str, Any, str, str]


class SelfTest:
    """Three checks that follow from each other; `directory` takes a checkpoint."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._mesh = meshes.make_mesh(meshes.MeshConfig(), jax.devices()[:1])

    def overfit(self) -> Found:
        """Train on four clips and sample their captions: each gives its own clip back."""
        began = time.monotonic()
        self._texts, self._videos = _clips()
        self._bundle, training, clips = _set_up(self._texts, self._videos, self._directory)
        self._built = runner.build(dit_run.plan(training), self._mesh)
        rows = dit_run.make_rows(training, clips, self._bundle.tokenizer, seed=0)
        state = self._built.fresh()
        batch = meshes.put_batch(self._mesh, rows[0])
        # On a CPU it is compiling, not computing, that takes the time here.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        self._update = self._built.step_fn.lower(state, batch, 0.0).compile(quick)
        for i in range(STEPS):
            batch = meshes.put_batch(self._mesh, next(rows))
            state, metrics = self._update(state, batch, i / STEPS)
        self._batch, self._state = batch, state
        frames = self._sample(state.params, self._bundle.sampling)
        decibels = _psnr(frames, self._videos)
        told = (
            f"{CLIPS} clips are learned in {time.monotonic() - began:.0f} s: samples of their "
            f"captions are at {decibels.min():.1f} dB or better (goal {GOAL:g})"
        )
        if not np.isfinite(float(metrics["loss"])) or decibels.min() < GOAL:
            return "overfit", "error", told, "this machine computes wrongly; report the output"
        return "overfit", "ok", told, ""

    def save_and_load(self) -> Found:
        """An update at rate 0, a checkpoint and its restore leave every frame as it was."""
        before = self._sample(self._state.params, self._bundle.sampling)
        state, _ = self._update(self._state, self._batch, 1.0)  # the rate ends at 0
        store = Checkpoints(self._directory / "checkpoints")
        store.save(1, state, Position(1))
        store.wait()
        found, _ = store.restore(self._built.abstract, self._built.shardings)
        store.close()
        self._state = found
        if not np.array_equal(self._sample(found.params, self._bundle.sampling), before):
            told = "frames differ after a save and a load"
            return "checkpoint", "error", told, "do not train on this machine; check its memory"
        return "checkpoint", "ok", "rate 0, save, load, sample: identical frames", ""

    def guidance_off(self) -> Found:
        """At cfg_scale 1 the guided estimate is the conditional one."""
        settings = self._bundle.sampling
        nearly = dataclasses.replace(settings, cfg_scale=float(np.nextafter(np.float32(1), 2)))
        plain = self._sample(self._state.params, settings).astype(int)
        guided = self._sample(self._state.params, nearly).astype(int)
        worst = int(np.abs(plain - guided).max())
        if worst > 1:
            told = f"frames differ by {worst} of 255 from the conditional ones at cfg_scale 1"
            return "guidance", "error", told, "report it"
        return "guidance", "ok", "cfg_scale 1 gives the conditional frames", ""

    def _sample(self, params: Any, settings: SamplingConfig) -> NDArray[np.uint8]:
        parts = {"vae": self._bundle.params["vae"], "dit": params}
        engine = Engine(dataclasses.replace(self._bundle, params=parts))
        asked = [make_request(text, seed=_SEED) for text in self._texts]
        return engine.decode(engine.sample(asked, settings))


def _clips() -> tuple[list[str], NDArray[np.uint8]]:
    scenes = [sample_scene("small", seed) for seed in range(CLIPS)]
    videos = np.stack([render(scene)[:, ::SHRINK, ::SHRINK] for scene in scenes])
    return [captions(scene, 0)[0].text for scene in scenes], videos


def _set_up(texts: list[str], videos: NDArray[np.uint8], directory: Path):
    """The networks as a bundle without a transformer, the training, and its clips."""
    tokenizer = Tokenizer.from_captions(texts * 2, max_tokens=16)
    vae_cfg, vae = _linear_vae(videos)
    model = ModelConfig(
        vae=vae_cfg,
        dit=DiTConfig(width=64, depth=2, num_heads=2, dtype="float32"),
        text=TextConfig(
            width=64,
            depth=1,
            num_heads=2,
            vocab_size=tokenizer.vocab_size,
            max_tokens=16,
            dtype="float32",
        ),
        latents=LatentStats.identity(vae_cfg.channels),
    )
    model = dataclasses.replace(model, latents=vae_run.measure_latents(vae_cfg, vae, videos))
    height, width = videos.shape[2:4]
    sampling = SamplingConfig(
        num_frames=videos.shape[1],
        size=(height, width),
        fps=8.0,
        steps=12,
        cfg_scale=1.0,
        shift=4.0,
    )
    bundle = Bundle(
        model=model,
        params={"vae": vae, "dit": {}},
        tokenizer=tokenizer,
        sampling=sampling,
        path=directory,
        digest="",
    )
    latents = Engine(bundle).encode(videos)
    clips = dit_run.LatentClips(
        latents=latents,
        held=latents,
        captions=[[(text, 0.0, 2.0)] for text in texts],
        fps=8.0,
        size=(height, width),
    )
    training = dit_run.DiTTraining(
        model=model,
        diffusion=DiffusionConfig(tasks=_ONLY_TEXT, drop_text=0.0, drop_both=0.0),
        optimizer=OptimizerConfig(name="adamw", rate=3e-3, warmup=10),
        loop=loop.LoopConfig(steps=STEPS, batch_size=CLIPS),
        still_share=0.0,
    )
    return bundle, training, clips


def _linear_vae(videos: NDArray[np.uint8]):
    """An autoencoder that is its linear codec: its networks give 0."""
    cfg = VAEConfig(
        channels=48, patch=8, widths=(16,), blocks=1, deep_encoder=False, dtype="float32"
    )
    folded = fold(jnp.asarray(videos, jnp.float32) / 127.5 - 1, cfg.codec_size)
    params = linear.start_at(
        network.init(VAE, cfg, jax.random.key(0)), linear.fit(np.asarray(folded), cfg.channels)
    )
    return cfg, jax.tree.map(jnp.asarray, params)


def _psnr(frames: NDArray[np.uint8], videos: NDArray[np.uint8]) -> NDArray[np.float64]:
    error = np.square(frames.astype(np.float64) - videos).mean(axis=(1, 2, 3, 4))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))
