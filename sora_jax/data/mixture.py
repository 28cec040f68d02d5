"""Shards mixed into one training: which clips, of which shapes, for which share of the tokens."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import records
from sora_jax.data.plan import Part, Place
from sora_jax.data.records import RecordSource
from sora_jax.data.schema import VideoRecord
from sora_jax.data.views import Shapes
from sora_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shards:
    """One split that is mixed in; `share` is of all tokens, 0 where every clip comes once."""

    directory: str | Path
    split: str = "train"
    share: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class ClipPart:
    """Records of one split that are mixed in as one, and the shapes they have in each phase."""

    name: str
    source: RecordSource
    numbers: NDArray[np.integer]  # of the records in the split
    phases: Sequence[Shapes]
    share: float

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, clip: int) -> VideoRecord:
        return self.source[int(self.numbers[clip])]

    def plan_part(self, cell: tuple[int, int, int]) -> Part:
        """What the plan knows of it; a token is `cell` pixel frames, rows and columns."""
        return Part(
            name=self.name,
            grids=[shapes.grids(cell) for shapes in self.phases],
            share=self.share,
        )


class Mixture:
    """Parts of a plan, found by place."""

    def __init__(self, parts: Sequence[ClipPart]):
        self.parts = tuple(parts)

    def record(self, place: Place) -> VideoRecord:
        """The record of a place. Raises UsageError for one that is damaged."""
        return self.parts[place.part][place.clip]

    def shape(self, place: Place) -> tuple[int, int, int, float]:
        """Frames, height, width in pixels, and frames a second, that the plan counts on."""
        part = self.parts[place.part]
        return part.phases[place.phase % len(part.phases)].at(place.clip)

    def name(self, place: Place) -> str:
        """Id of a record."""
        part = self.parts[place.part]
        return part.source.ids[int(part.numbers[place.clip])]

    def plan_parts(self, cell: tuple[int, int, int]) -> list[Part]:
        """What a plan is made from; a token is `cell` pixel frames, rows and columns."""
        return [part.plan_part(cell) for part in self.parts]

    @property
    def totals(self) -> dict[str, int]:
        """Records of each part."""
        return {part.name: len(part) for part in self.parts}


def open_mixture(
    shards: Sequence[Shards],
    shape: Callable[[Shapes], Sequence[Shapes]],
    *,
    image_share: float = 0.0,
) -> Mixture:
    """Open splits to be mixed; `shape` gives the shapes of clips in each phase (`data.views`).

    With `image_share`, still images get that share of all tokens and clips the rest, whatever
    shards they are from. Raises UsageError where one of the two is missing.
    """
    if not 0 <= image_share < 1:
        raise UsageError(f"image_share is {image_share}; it must be at least 0 and under 1")
    parts = []
    for wanted in shards:
        source = records.open_split(wanted.directory, wanted.split)
        clips = Shapes(
            source.index.num_frames, source.index.height, source.index.width, source.index.fps
        )
        name = f"{wanted.directory}:{wanted.split}"
        make = functools.partial(_part, source, shape(clips), wanted.share)
        if image_share:
            is_still = np.asarray(clips.num_frames) == 1
            parts += [make(f"{name} images", is_still), make(f"{name} videos", ~is_still)]
        else:
            parts.append(make(name, np.ones(len(source), bool)))
    parts = [part for part in parts if len(part)]
    if image_share:
        parts = _with_images(parts, image_share)
    return Mixture(parts)


def _part(
    source: RecordSource, phases: Sequence[Shapes], share: float, name: str, is_in: NDArray
) -> ClipPart:
    numbers = np.flatnonzero(is_in)
    chosen = [
        Shapes(*(getattr(shapes, field.name)[numbers] for field in dataclasses.fields(Shapes)))
        for shapes in phases
    ]
    return ClipPart(name, source, numbers, chosen, share)


def _with_images(parts: list[ClipPart], image_share: float) -> list[ClipPart]:
    """The parts with shares such that images have theirs; within each kind as they were given."""
    kinds = {kind: [p for p in parts if p.name.endswith(kind)] for kind in ("images", "videos")}
    missing = [kind for kind, found in kinds.items() if not found]
    if missing:
        raise UsageError(
            f"image_share is {image_share} and the shards have no {missing[0]}; set it to 0 or "
            f"add some"
        )
    shared = []
    for kind, found in kinds.items():
        whole = image_share if kind == "images" else 1 - image_share
        weights = np.array([part.share or len(part) for part in found])
        for part, weight in zip(found, weights / weights.sum(), strict=True):
            shared.append(dataclasses.replace(part, share=float(whole * weight)))
    return shared
