"""Training the autoencoder: from clips to frozen weights, latent statistics and its figures."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Params
from sora_jax.data import loader
from sora_jax.data.augment import AugmentConfig, augment
from sora_jax.data.records import Columns
from sora_jax.errors import UsageError
from sora_jax.export import features
from sora_jax.models import network
from sora_jax.models.network import LatentStats
from sora_jax.models.vae import linear
from sora_jax.models.vae.discriminator import VAEGAN, Discriminator, VAEGANConfig
from sora_jax.models.vae.vae import VAE, VAEConfig, fold
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import loop, runner
from sora_jax.train.objectives import LossFn
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.state import TrainState
from sora_jax.train.vae_objective import VAELossConfig, autoencoder, vae_objective
from sora_jax.train.writers import Writer

LINEAR_CLIPS, LINEAR_VALUES = 512, 2**27  # clips, and values of theirs, for the linear codec
EVAL_BATCH = 32

# One scale for all channels, whose own variances go to the transformer; or a scale for each.
Normalise = Literal["global", "channel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAETraining:
    """All settings of this stage."""

    vae: VAEConfig
    loss: VAELossConfig
    optimizer: OptimizerConfig
    loop: loop.LoopConfig
    augment: AugmentConfig = AugmentConfig()
    normalise: Normalise = "global"
    split: meshes.Split = "frames"  # what the mesh's `context` axis divides


@dataclasses.dataclass(frozen=True)
class TrainedVAE:
    """What the stage leaves: `params` are the EMA's, on the host."""

    params: Params
    stats: LatentStats
    psnr: float
    linear_psnr: float
    steps: int
    steps_per_second: float
    compiles: int


def train_vae(
    cfg: VAETraining,
    videos: NDArray[np.uint8],
    heldout: NDArray[np.uint8],
    *,
    workdir: Path,
    mesh: meshes.Mesh,
    writers: Callable[[float], Sequence[Writer]],
    samples: Callable[[int, Params], dict[str, Path]] | None = None,
) -> TrainedVAE:
    """Train on `videos` (N T H W 3), measure on `heldout`; goes on from `workdir/checkpoints`.

    `samples` is given the step and the EMA's parameters, and gives files to look at by name. Raises
    UsageError for clips that are shorter than the training is to see.
    """
    frames = videos.shape[1]
    if cfg.augment.frames > frames:
        raise UsageError(
            f"augment.frames is {cfg.augment.frames} and clips have {frames}; ask at most those"
        )
    codec = linear_codec(cfg.vae, videos)

    def init(key: jax.Array) -> Params:
        return linear.start_at(network.init(VAE, cfg.vae, key), codec)

    def evaluate(state: TrainState) -> dict[str, float]:
        return {"heldout_psnr": psnr(cfg.vae, autoencoder(hosts.fetch(state.ema)), heldout)}

    def show(step: int, state: TrainState) -> dict[str, Path]:
        ema = autoencoder(hosts.fetch(state.ema))
        return samples(step, ema) if samples and hosts.is_first() else {}

    batches = loader.batches(
        Columns({"video": videos}),
        batch_size=cfg.loop.batch_size,
        seed=cfg.loop.seed,
        transform=functools.partial(augment, cfg.augment),
        host=hosts.place(),
    )
    result = runner.run(
        plan(cfg, init),
        batches,
        workdir=workdir,
        mesh=mesh,
        writers=writers,
        hooks=loop.Hooks(evaluate=evaluate, samples=show if samples else None),
    )
    params = autoencoder(hosts.fetch(result.state.ema))
    return TrainedVAE(
        params,
        measure_latents(cfg.vae, params, spread(videos, LINEAR_CLIPS), cfg.normalise),
        psnr(cfg.vae, params, heldout),
        linear_psnr(cfg.vae, codec, heldout),
        result.steps,
        result.steps_per_second,
        result.compiles,
    )


def plan(cfg: VAETraining, init: Callable[[jax.Array], Params]) -> runner.Plan:
    """What `runner` trains, from the autoencoder's parameters that `init` draws.

    Raises UsageError if the perceptual term's weights can't be read.
    """
    wanted, critic = cfg.loss.perceptual, cfg.loss.adversarial.discriminator
    frozen = features.load(wanted.network, wanted.weights) if wanted.weight else None
    loss_fn = vae_objective(cfg.vae, cfg.loss, frozen)

    def make_loss(mesh: meshes.Mesh) -> LossFn:
        def split(params: Params, batch: Any, key: jax.Array):
            video = meshes.split_video(mesh, batch["video"], cfg.split)
            return loss_fn(params, batch | {"video": video}, key)

        return split

    alone = runner.Plan(
        make=VAE,
        model=cfg.vae,
        init=init,
        make_loss=make_loss,
        optimizer=cfg.optimizer,
        loop=cfg.loop,
    )
    if not cfg.loss.adversarial.weight:
        return alone

    def init_both(key: jax.Array) -> Params:
        # The autoencoder starts as it does without a critic.
        critic_key = jax.random.fold_in(key, 1)
        return init(key) | {"discriminator": network.init(Discriminator, critic, critic_key)}

    model = VAEGANConfig(vae=cfg.vae, discriminator=critic)
    return dataclasses.replace(alone, make=VAEGAN, model=model, init=init_both)


def linear_codec(cfg: VAEConfig, videos: NDArray[np.uint8]) -> linear.LinearCodec:
    """The best linear codec of some clips (N T H W 3) with as many channels as the VAE's."""
    some = spread(videos, linear_limit(videos.shape[1:]))
    return linear.fit(_folded(some, cfg), cfg.codec_channels)


def spread(videos: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """At most `count` clips, evenly spread: neighbours of a film are of one shot."""
    index = np.linspace(0, len(videos) - 1, min(count, len(videos))).astype(int)
    return videos[index]


def linear_limit(shape: tuple[int, ...]) -> int:
    """How many clips T H W 3 the linear codec is fitted on, at most: all are in memory at once."""
    return max(1, min(LINEAR_CLIPS, LINEAR_VALUES // math.prod(shape)))


def linear_psnr(cfg: VAEConfig, codec: linear.LinearCodec, videos: NDArray[np.uint8]) -> float:
    """PSNR in dB that the linear codec reaches."""
    errors = []
    for start in range(0, len(videos), EVAL_BATCH):
        folded = _folded(videos[start : start + EVAL_BATCH], cfg)
        errors.append(np.mean(np.square(codec.reconstruct(folded) - folded), axis=(1, 2, 3, 4)))
    return _decibels(float(np.mean(np.concatenate(errors))))


def psnr(cfg: VAEConfig, params: Params, videos: NDArray[np.uint8]) -> float:
    """PSNR in dB of the mean squared error over all clips, reconstructions clipped to [-1, 1]."""
    errors = []
    for batch in _batches(videos):
        out = np.clip(_reconstruct(cfg, params, batch), -1, 1)
        errors.append(np.mean(np.square(out - batch), axis=(1, 2, 3, 4)))
    return _decibels(float(np.mean(np.concatenate(errors))))


def measure_latents(
    cfg: VAEConfig, params: Params, videos: NDArray[np.uint8], normalise: Normalise = "global"
) -> LatentStats:
    """Shift of each channel, and the scale that makes their mean variance, or each one's, 1.

    A channel that never changes has no scale of its own: it stays at 0.
    """
    raw = np.concatenate([np.asarray(_encode(cfg, params, b)) for b in _batches(videos)])
    rows = raw.reshape(-1, cfg.channels).astype(np.float64)
    variance = rows.var(0)
    scale = np.sqrt(1 / variance.mean())
    if normalise == "channel":
        scale = np.sqrt(1 / np.where(variance > 0, variance, 1))
    return LatentStats(
        shift=tuple(map(float, rows.mean(0))),
        scale=float(scale) if scale.ndim == 0 else tuple(map(float, scale)),
        variance=tuple(map(float, variance * scale**2)),
    )


@jax.jit(static_argnums=0)
def _reconstruct(cfg: VAEConfig, params: Params, video):
    vae = network.module(VAE, cfg, params)
    return vae.decoder(vae.encoder(video))


@jax.jit(static_argnums=0)
def _encode(cfg: VAEConfig, params: Params, video):
    return network.module(VAE, cfg, params).encoder(video)


def _batches(videos: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(videos), EVAL_BATCH):
        yield videos[start : start + EVAL_BATCH].astype(np.float32) / 127.5 - 1


def _folded(videos: NDArray[np.uint8], cfg: VAEConfig) -> NDArray[np.float32]:
    return np.asarray(fold(jnp.asarray(videos, jnp.float32) / 127.5 - 1, cfg.codec_size))


def _decibels(mse: float) -> float:
    return float(10 * np.log10(4 / mse))  # the range of pixels is 2
