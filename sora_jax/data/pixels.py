"""Batches of pixels: clips of one shape together, each cut at a moment and place of its own."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import loader, views
from sora_jax.data.fill import Buckets
from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.loader import Reading
from sora_jax.data.mixture import Mixture, Shards, open_mixture
from sora_jax.data.plan import Place, Plan
from sora_jax.data.quarantine import FILE, MAX_BAD_SHARE, Quarantine
from sora_jax.data.records import Sample
from sora_jax.data.rows import Groups, PlannedBatches, Reader
from sora_jax.data.views import View


@dataclasses.dataclass(frozen=True)
class Cut:
    """A clip's view: uint8 T H W 3, frames a second, and the second of its clip it begins at."""

    video: NDArray[np.uint8]
    fps: float
    start: float


class CutLoad:
    """Decodes the view of a place."""

    def __init__(self, mixture: Mixture):
        self._mixture = mixture

    def __call__(self, place: Place, rng: np.random.Generator) -> Cut:
        shape = self._mixture.shape(place)
        video, start = views.cut(self._mixture.record(place), shape, rng)
        return Cut(video, shape[3], start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """What clips are brought to, and how they are read."""

    views: tuple[View, ...] = (View(),)
    multiple: int = 8  # sides are multiples of this
    batch_size: int = 8  # clips over all hosts
    max_bad_share: float = MAX_BAD_SHARE
    reading: Reading = Reading()


class PixelData:
    """Shards of videos, planned in buckets: each batch has one shape, of views in turn."""

    def __init__(self, cfg: PixelConfig, shards: Sequence[Shards], *, seed: int):
        self._cfg = cfg
        self._mixture = open_mixture(
            shards, lambda clips: views.in_turn(cfg.views, clips, cfg.multiple)
        )
        cell = CHUNK_FRAMES, cfg.multiple, cfg.multiple
        parts = self._mixture.plan_parts(cell)
        self.plan = Plan(parts, Buckets(cfg.batch_size), seed=seed)
        self._reader = Reader(self.plan, CutLoad(self._mixture))

    def batches(
        self,
        workdir: Path | None = None,
        *,
        host: tuple[int, int] = (0, 1),
        report: Callable[[str], None] | None = None,
    ) -> PlannedBatches:
        """Endless batches: `video` (uint8 B T H W 3), `fps`, `start` and `sample_id`.

        Bad records are named in the run directory `workdir`; this host gets its slice.
        """
        cfg = self._cfg
        source = Groups(self._reader, cfg.batch_size, _stack, host)
        batches = loader.ready_batches(source, reading=cfg.reading)
        path = None if workdir is None else workdir / FILE
        quarantine = Quarantine(self._mixture.totals, max_share=cfg.max_bad_share, path=path)
        return PlannedBatches(
            batches, self._reader, quarantine, self._mixture.name, rows=1, report=report
        )


def _stack(cuts: Sequence[Cut]) -> Sample:
    return {
        "video": np.stack([cut.video for cut in cuts]),
        "fps": np.array([cut.fps for cut in cuts], np.float32),
        "start": np.array([cut.start for cut in cuts], np.float32),
    }
