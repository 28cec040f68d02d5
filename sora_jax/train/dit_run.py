"""Training the transformer on latents: rows from stored clips, fixed-noise held-out loss."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Params
from sora_jax.data import loader
from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.packing import Clip, RowSize, pack_row
from sora_jax.data.records import Columns
from sora_jax.data.rows import PlannedBatches
from sora_jax.models import network
from sora_jax.models.network import Denoiser, ModelConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.sharding import context, hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import flops, loop, runner
from sora_jax.train.objectives import DiffusionConfig, LossFn, dit_objective
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.state import TrainState
from sora_jax.train.writers import Writer

HELDOUT_BATCHES = 8
SIGMA_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.01)  # of the bins of the held-out loss; 1 is in the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiTTraining:
    """All settings of this stage."""

    model: ModelConfig
    diffusion: DiffusionConfig
    optimizer: OptimizerConfig
    loop: loop.LoopConfig
    attention: context.AttentionConfig = context.AttentionConfig()
    still_share: float = 0.1  # clips that begin with a held still image, which is given
    global_share: float = 0.15  # timed captions replaced by the global one


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentClips:
    """Clips of one geometry as latents, in memory."""

    latents: NDArray[np.floating]  # N n h w C
    held: NDArray[np.floating]  # N n h w C: begun by their first frame, held for a chunk
    captions: list[list[tuple[str, float, float]]]  # of each clip: the global one, then timed ones
    fps: float
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.latents)


class RowMaker:
    """A stored clip -> a packed row; draws caption and start with the sample's own generator."""

    def __init__(self, cfg: DiTTraining, clips: LatentClips, tokenizer: Tokenizer):
        self._cfg, self._clips = cfg, clips
        # Of captions many are alike.
        tokens = functools.cache(functools.partial(_tokens, functools.cache(tokenizer.encode)))
        texts = [tuple(captions) for captions in clips.captions]
        self._global = [tokens(captions[:1]) for captions in texts]
        self._timed = [tokens(captions[1:] or captions) for captions in texts]
        patch = cfg.model.dit.patch
        grid = clips.latents.shape[1:4]
        self.size = RowSize(
            tokens=math.prod(grid) // math.prod(patch),
            frames=grid[0] // patch[0],
            text=cfg.model.text.max_tokens,
        )

    def __call__(self, item: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        number = item["number"]
        texts = self._global if rng.random() < self._cfg.global_share else self._timed
        text, span = texts[number]
        is_held = rng.random() < self._cfg.still_share
        if is_held:  # what is said of a time after the first frame is true later
            delay = (CHUNK_FRAMES - 1) / self._clips.fps
            span = np.where(span > 0, span + np.float32(delay), span)
        latents = (self._clips.held if is_held else self._clips.latents)[number]
        clip = Clip(
            latents=latents.astype(np.float32),
            fps=self._clips.fps,
            size=self._clips.size,
            text=text,
            text_span=span,
            sample_id=0,
            needs_first=is_held,
        )
        return pack_row([clip], self.size, self._cfg.model.dit.patch)


class Rows:
    """Batches of rows with a sample id for each clip of each row."""

    def __init__(self, batches: loader.Batches | PlannedBatches):
        self._batches = batches

    @property
    def next_batch(self) -> int:
        return self._batches.next_batch

    @property
    def reading_since(self) -> float | None:
        return self._batches.reading_since

    def seek(self, step: int) -> None:
        """Go to the batch of a global step."""
        self._batches.seek(step)

    def close(self) -> None:
        """Stop reading ahead."""
        self._batches.close()

    def __next__(self) -> dict[str, NDArray]:
        return with_clip_ids(next(self._batches))

    def __getitem__(self, step: int) -> dict[str, NDArray]:
        return with_clip_ids(self._batches[step])


def first_batches(rows: Rows, count: int, batch_size: int) -> list[dict[str, NDArray]]:
    """Batches that the held-out loss is taken on; `count` is the number of rows that there are."""
    found = [next(rows) for _ in range(min(HELDOUT_BATCHES, count // batch_size + 1))]
    rows.close()
    return found


def make_rows(cfg: DiTTraining, clips: LatentClips, tokenizer: Tokenizer, *, seed: int) -> Rows:
    """Endless batches of rows; batch k depends on (clips, seed, k) alone."""
    return Rows(
        loader.batches(
            Columns({"number": np.arange(len(clips))}),
            batch_size=cfg.loop.batch_size,
            seed=seed,
            transform=RowMaker(cfg, clips, tokenizer),
            host=hosts.place(),
        )
    )


def train_dit(
    cfg: DiTTraining,
    rows: loop.BatchSource,
    probes: Sequence[dict[str, NDArray]],
    *,
    workdir: Path,
    mesh: meshes.Mesh,
    writers: Callable[[float], Sequence[Writer]],
    samples: Callable[[int, Params], dict[str, Path]] | None = None,
) -> loop.Result:
    """Train on batches of rows, with the loss on `probes` at fixed levels and noise.

    That loss is told as a whole and, token by token, in bins of sigma. It goes on from what is in
    `workdir` by itself.
    """
    loss_fn = make_loss(cfg, mesh, sigma_edges=SIGMA_EDGES)
    probe = jax.jit(
        lambda params, batch: loss_fn(params, batch, jax.random.key(0)),
        out_shardings=meshes.replicated(mesh),
    )

    def evaluate(state: TrainState) -> dict[str, float]:
        found = jax.device_get([probe(state.ema, meshes.put_batch(mesh, b)) for b in probes])
        loss = float(np.mean([loss for loss, _ in found]))
        return {"heldout_loss": loss} | bin_losses([figures for _, figures in found])

    def show(step: int, state: TrainState) -> dict[str, Path]:
        ema = hosts.fetch(state.ema)
        return samples(step, ema) if samples and hosts.is_first() else {}

    return runner.run(
        plan(cfg),
        rows,
        workdir=workdir,
        mesh=mesh,
        writers=writers,
        hooks=loop.Hooks(evaluate=evaluate, samples=show),
    )


def bin_losses(figures: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean loss of all tokens of each bin of sigma, by name; a bin without tokens has none."""
    total, count = (sum(f[name] for f in figures) for name in ("bin_loss", "bin_tokens"))
    return {
        f"heldout_loss_sigma_{low:g}_{min(high, 1.0):g}": float(total[i] / count[i])
        for i, (low, high) in enumerate(itertools.pairwise(SIGMA_EDGES))
        if count[i]
    }


def plan(cfg: DiTTraining) -> runner.Plan:
    """What `runner` trains."""
    return runner.Plan(
        make=Denoiser,
        model=cfg.model,
        init=lambda key: network.init(Denoiser, cfg.model, key),
        make_loss=lambda mesh: make_loss(cfg, mesh),
        optimizer=cfg.optimizer,
        loop=cfg.loop,
    )


def make_loss(
    cfg: DiTTraining, mesh: meshes.Mesh, *, sigma_edges: tuple[float, ...] = ()
) -> LossFn:
    """The objective on `mesh`. Raises UsageError for heads that the mesh cannot divide."""
    layout = context.make_layout(mesh, cfg.attention, cfg.model.dit.dtype)
    context.check_heads(mesh, cfg.attention, cfg.model.dit.num_heads)
    return dit_objective(cfg.model, cfg.diffusion, layout, sigma_edges=sigma_edges)


def step_flops(cfg: DiTTraining, batch: dict[str, NDArray]) -> int:
    """FLOPs of the matrix products of one training step, the optimizer's included."""
    built = runner.build(plan(cfg), meshes.make_mesh(meshes.MeshConfig()))
    return flops.matmul_flops(built.step_fn, built.abstract, batch, 0.0)


def _tokens(encode: Callable[[str], list[int]], captions: tuple[tuple[str, float, float], ...]):
    ids = [encode(text) for text, _, _ in captions]
    spans = [[span[1:]] * len(tokens) for tokens, span in zip(ids, captions, strict=True)]
    return (np.array(sum(ids, []), np.int32), np.array(sum(spans, []), np.float32).reshape(-1, 2))


def with_clip_ids(batch: dict[str, NDArray]) -> dict[str, NDArray]:
    """A batch of rows with a sample id for each clip of each row."""
    count = batch["needs_first"].shape[1]
    ids = batch["sample_id"][:, None] * count + np.arange(count)
    return batch | {"sample_id": ids.astype(np.int32)}
