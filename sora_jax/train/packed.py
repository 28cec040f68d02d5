"""Training the transformer on shards of latents of any shapes, by the global plan."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import fill, loader, views
from sora_jax.data.fill import PackedRows
from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.loader import Reading
from sora_jax.data.mixture import Mixture, Shards, open_mixture
from sora_jax.data.packing import Clip, RowSize
from sora_jax.data.plan import Place, Plan
from sora_jax.data.quarantine import FILE, MAX_BAD_SHARE, Quarantine
from sora_jax.data.rows import PlannedBatches, PlannedRows, Reader
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import UsageError
from sora_jax.models.network import ModelConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.sharding import hosts
from sora_jax.train.dit_run import DiTTraining, Rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """Rows that several clips share. `row_tokens` 0: one clip a row, all of one geometry."""

    row_tokens: int = 0
    max_clips: int = 16  # of a row; each has room for text.max_tokens of text
    max_frames: int = 64  # latent frames of a row
    image_share: float = 0.0  # of all tokens, to still images; 0: as many as there are
    max_bad_share: float = MAX_BAD_SHARE  # of the records, before the run stops
    reading: Reading = Reading()

    def __post_init__(self):
        if self.row_tokens:
            fill.check_size(self.row_size(0))

    def row_size(self, max_text: int) -> RowSize:
        """Capacity of a row in which each clip has up to `max_text` tokens of text."""
        return RowSize(
            tokens=self.row_tokens,
            frames=self.max_frames,
            text=self.max_clips * max_text,
            clips=self.max_clips,
        )


class LatentLoad:
    """Reads the latents of a place; draws captions and start with the place's own generator."""

    def __init__(self, cfg: DiTTraining, mixture: Mixture, tokenizer: Tokenizer):
        self._cfg, self._mixture, self._tokenizer = cfg, mixture, tokenizer

    def __call__(self, place: Place, rng: np.random.Generator) -> Clip:
        record = self._mixture.record(place)
        num_frames, height, width, fps = self._mixture.shape(place)
        spatial = self._cfg.model.vae.spatial
        shape = num_frames // CHUNK_FRAMES, height // spatial, width // spatial
        latents = _checked(record, (*shape, self._cfg.model.vae.channels))
        has_held = len(latents) == 2 * shape[0]
        seconds = num_frames / fps
        captions = choose_captions(record.captions, seconds, self._cfg.global_share, rng)
        is_held = has_held and bool(rng.random() < self._cfg.still_share)
        delay = (CHUNK_FRAMES - 1) / fps if is_held else 0.0
        text, span = self._tokens(record, captions, delay)
        half = latents[shape[0] :] if is_held else latents[: shape[0]]
        return Clip(
            latents=half,
            fps=fps,
            size=(height, width),
            text=text,
            text_span=span,
            sample_id=0,
            needs_first=is_held,
        )

    def _tokens(
        self, record: VideoRecord, captions: Sequence[Caption], delay: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Ids and spans; what is said of a time after the first frame is true `delay` later."""
        ids: list[int] = []
        spans: list[tuple[float, float]] = []
        for caption in captions:
            tokens = self._tokenizer.encode(caption.text)
            ids += tokens
            start, end = (t + delay if t > 0 else t for t in (caption.start, caption.end))
            spans += [(start, end)] * len(tokens)
        if len(ids) > self._tokenizer.max_tokens:
            raise UsageError(
                f"captions of record {record.id!r} have {len(ids)} tokens and a clip has room for "
                f"{self._tokenizer.max_tokens}; shorten them or raise text.max_tokens"
            )
        return np.array(ids, np.int32), np.array(spans, np.float32).reshape(-1, 2)


def choose_captions(
    captions: Sequence[Caption], seconds: float, global_share: float, rng: np.random.Generator
) -> list[Caption]:
    """Either one of those that span the whole clip, or the timed ones if there are any.

    The first caption always counts as one of the whole clip.
    """
    whole = [c for i, c in enumerate(captions) if not i or (c.start <= 0 and c.end >= seconds)]
    timed = [caption for caption in captions if caption not in whole]
    takes_whole = rng.random() < global_share or not timed
    return [whole[int(rng.integers(len(whole)))]] if takes_whole else timed


class PackedData:
    """Shards of latents, planned: what a training and its held-out loss read from."""

    def __init__(
        self,
        cfg: DiTTraining,
        packing: PackingConfig,
        shards: Sequence[Shards],
        tokenizer: Tokenizer,
        *,
        seed: int,
    ):
        self._cfg, self._packing = cfg, packing
        cell = token_cell(cfg.model)
        shape = functools.partial(_stored, cell=cell)
        self._mixture = open_mixture(shards, shape, image_share=packing.image_share)
        self._size = packing.row_size(tokenizer.max_tokens)
        self.plan = Plan(self._mixture.plan_parts(cell), PackedRows(self._size), seed=seed)
        self._reader = Reader(self.plan, LatentLoad(cfg, self._mixture, tokenizer))

    def describe(self) -> str:
        """One line on the plan."""
        rows = self.plan.epoch_start(self.plan.phases) / self.plan.phases
        filtered = sum(
            self.plan.sizes[i] - self.plan.usable(i) for i in range(len(self.plan.sizes))
        )
        return (
            f"{sum(self.plan.sizes)} clips ({filtered} filtered) in {rows:.0f} rows of "
            f"{self._size.tokens} tokens an epoch, {self.plan.padding_share:.1%} padding"
        )

    def batches(
        self,
        workdir: Path | None = None,
        *,
        host: tuple[int, int] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Rows:
        """Endless batches of packed rows; batch k depends on (shards, seed, k) alone.

        Bad records are named in the run directory `workdir`. `host` is this process's place.
        """
        rows, cfg = self._cfg.loop.batch_size, self._cfg
        source = PlannedRows(self._reader, self._size, cfg.model.dit.patch, cfg.model.vae.channels)
        batches = loader.batches(
            source,
            batch_size=rows,
            seed=self.plan.seed,
            shuffle=False,
            host=hosts.place() if host is None else host,
            reading=self._packing.reading,
        )
        path = None if workdir is None else workdir / FILE
        quarantine = Quarantine(
            self._mixture.totals, max_share=self._packing.max_bad_share, path=path
        )
        planned = PlannedBatches(
            batches, self._reader, quarantine, self._mixture.name, rows=rows, report=report
        )
        return Rows(planned)


def token_cell(model: ModelConfig) -> tuple[int, int, int]:
    """Pixel frames, rows and columns of one token."""
    frames, rows, columns = model.dit.patch
    return frames * CHUNK_FRAMES, rows * model.vae.spatial, columns * model.vae.spatial


def _stored(clips: views.Shapes, cell: tuple[int, int, int]) -> list[views.Shapes]:
    return [views.stored(clips, cell)]


def _checked(record: VideoRecord, shape: tuple[int, int, int, int]) -> NDArray[np.floating]:
    """Latents of a clip of that shape, alone or followed by those begun by its first frame."""
    if record.latents is None:
        raise UsageError(f"record {record.id!r} holds pixels; encode the shards first")
    twice = (2 * shape[0], *shape[1:])
    if record.latents.shape not in (shape, twice):
        raise UsageError(
            f"latents of record {record.id!r} have shape {record.latents.shape} and its index says "
            f"{shape}; encode the shards again with this model's VAE"
        )
    return record.latents
