"""Training the upscaler: clips at half their size, brought back."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Key, Params, Scalar
from sora_jax.data import loader
from sora_jax.data.records import Columns
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.upscaler import FACTOR, Upscaler, UpscalerConfig, lanczos
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import loop, runner
from sora_jax.train.objectives import LossFn, Metrics
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.state import TrainState
from sora_jax.train.writers import Writer

_EVAL_CLIPS = 8  # that are enlarged at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscalerTraining:
    """All settings of this stage."""

    model: UpscalerConfig
    frames: int  # of each clip, the first of as many equal parts
    optimizer: OptimizerConfig
    loop: loop.LoopConfig


@dataclasses.dataclass(frozen=True)
class TrainedUpscaler:
    """What the stage leaves: `params` are the EMA's, on the host; figures are of held-out clips."""

    params: Params
    figures: dict[str, float]
    steps: int
    steps_per_second: float


def train_upscaler(
    cfg: UpscalerTraining,
    videos: NDArray[np.uint8],
    heldout: NDArray[np.uint8],
    *,
    workdir: Path,
    mesh: meshes.Mesh,
    writers: Callable[[float], Sequence[Writer]],
) -> TrainedUpscaler:
    """Train on `videos` (N T H W 3), measure on `heldout`; goes on from `workdir/checkpoints`.

    Raises UsageError for clips of an odd size.
    """
    for side in videos.shape[2:4]:
        if side % FACTOR:
            raise UsageError(f"clips have a side of {side} pixels; use an even data.size")
    picks = np.arange(cfg.frames) * videos.shape[1] // cfg.frames

    def evaluate(state: TrainState) -> dict[str, float]:
        return measure(cfg.model, hosts.fetch(state.ema), heldout[:, picks])

    result = runner.run(
        runner.Plan(
            make=Upscaler,
            model=cfg.model,
            init=functools.partial(network.init, Upscaler, cfg.model),
            make_loss=lambda mesh: upscaler_objective(cfg.model),
            optimizer=cfg.optimizer,
            loop=cfg.loop,
        ),
        loader.batches(
            Columns({"video": videos[:, picks]}),
            batch_size=cfg.loop.batch_size,
            seed=cfg.loop.seed,
            host=hosts.place(),
        ),
        workdir=workdir,
        mesh=mesh,
        writers=writers,
        hooks=loop.Hooks(evaluate=evaluate),
    )
    params = hosts.fetch(result.state.ema)
    figures = measure(cfg.model, params, heldout[:, picks])
    return TrainedUpscaler(params, figures, result.steps, result.steps_per_second)


def upscaler_objective(cfg: UpscalerConfig) -> LossFn:
    """Squared error of `batch["video"]` (uint8 B T H W 3), halved and enlarged again."""

    def loss_fn(params: Params, batch: Any, key: Key) -> tuple[Scalar, Metrics]:
        video = batch["video"]
        large = rearrange(video, "b t h w c -> (b t) h w c").astype(jnp.float32) / 127.5 - 1
        small = halve(large)
        error = jnp.mean(jnp.square(network.module(Upscaler, cfg, params)(small) - large))
        baseline = jnp.mean(jnp.square(lanczos(small) - large))
        return error, {"lanczos": baseline, "clips": jnp.float32(len(video))}

    return loss_fn


def halve(x: Float[Array, "B H W 3"]) -> Float[Array, "B h w 3"]:
    """Half the size by averaging, in whole values as a file has them."""
    small = reduce(x, "b (h i) (w j) c -> b h w c", "mean", i=FACTOR, j=FACTOR)
    return jnp.round((small + 1) * 127.5) / 127.5 - 1


def measure(cfg: UpscalerConfig, params: Params, videos: NDArray[np.uint8]) -> dict[str, float]:
    """PSNR in dB of clips (N T H W 3) halved and enlarged, by the network and by Lanczos."""
    errors = []
    for start in range(0, len(videos), _EVAL_CLIPS):
        errors.append(_errors(cfg, params, videos[start : start + _EVAL_CLIPS]))
    network_error, lanczos_error = np.mean(np.concatenate(errors, axis=1), axis=1)
    return {
        "psnr": float(10 * np.log10(4 / network_error)),
        "lanczos_psnr": float(10 * np.log10(4 / lanczos_error)),
    }


@jax.jit(static_argnums=0)
def _errors(cfg: UpscalerConfig, params: Params, videos: Array) -> Float[Array, "2 N"]:
    large = rearrange(videos, "n t h w c -> (n t) h w c").astype(jnp.float32) / 127.5 - 1
    small = halve(large)
    found = [network.module(Upscaler, cfg, params)(small), lanczos(small)]
    squares = [jnp.square(jnp.clip(x, -1, 1) - large) for x in found]
    return jnp.stack([reduce(s, "(n t) h w c -> n", "mean", n=len(videos)) for s in squares])
