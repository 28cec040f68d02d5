"""The clips that a toy world run is judged on: real ones, each with its scene and captions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import records
from sora_jax.data.scene import Scene
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import UsageError
from sora_jax.generate import request
from sora_jax.generate.request import Request

SEEN, HELDOUT, TRAIN = "seen", "heldout", "train"  # splits of the shards
MAX_TRAIN_BYTES = 2**30  # of training clips held in memory to look for copies


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyClip:
    """A real clip: what is in it, how that is said (the global caption first), and its pixels."""

    scene: Scene
    captions: tuple[Caption, ...]
    video: NDArray[np.uint8]  # T H W 3

    @property
    def prompt(self) -> str:
        """The global caption."""
        return self.captions[0].text

    def request(self, seed: int) -> Request:
        """Ask for this clip as training does: by the timed captions where there are any."""
        spans = self.captions[1:] or self.captions
        return Request(
            captions=tuple(
                request.Caption(text=caption.text, start=caption.start, end=caption.end)
                for caption in spans
            ),
            seed=seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyWorldSets:
    """New clips of seen compositions, clips of held-out ones, and training clips (pixels alone).

    `train` is None where the run's data is gone; no copies are then looked for.
    """

    seen: tuple[ToyClip, ...]
    heldout: tuple[ToyClip, ...]
    train: NDArray[np.uint8] | None = None  # N T H W 3


def load_sets(data_dir: str | Path, n: int, *, num_train: int = 4096) -> ToyWorldSets:
    """The first `n` clips of the splits seen and heldout, and the first of train, from shards.

    Fewer than `num_train` where they would take more than MAX_TRAIN_BYTES. Records carry their
    scene as `extra["scene"]`. Raises UsageError for a split with fewer than `n` clips.
    """
    source = records.open_split(data_dir, TRAIN)
    values = int(np.prod(source.index.shape(0))) * 3
    count = min(num_train, len(source), max(1, MAX_TRAIN_BYTES // values))
    return ToyWorldSets(
        seen=_load(data_dir, SEEN, n),
        heldout=_load(data_dir, HELDOUT, n),
        train=np.stack([records.decode(source[i]) for i in range(count)]),
    )


def _load(data_dir: str | Path, split: str, n: int) -> tuple[ToyClip, ...]:
    source = records.open_split(data_dir, split)
    if len(source) < n:
        raise UsageError(
            f"split {split!r} of {data_dir} has {len(source)} clips and {n} are to be judged; "
            "judge fewer or write more"
        )
    return tuple(to_clip(source[i]) for i in range(n))


def to_clip(record: VideoRecord) -> ToyClip:
    """A record of the toy world, its video decoded. Raises UsageError for one without a scene."""
    if "scene" not in record.extra:
        raise UsageError(f"record {record.id!r} has no scene; it can't be judged")
    return ToyClip(
        scene=Scene.from_json(record.extra["scene"]),
        captions=record.captions,
        video=records.decode(record),
    )


def stack(clips: Sequence[ToyClip]) -> NDArray[np.uint8]:
    """Pixels of the clips, B T H W 3."""
    return np.stack([clip.video for clip in clips])
