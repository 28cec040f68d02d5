"""What is in shards, as figures: counts, sizes, shapes and captions, read off the index.

Of the records themselves only a sample is opened, evenly spread and so the same each time.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import sheets
from sora_jax.data import index, records
from sora_jax.data.index import SplitIndex
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import LimitError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A record that was opened, or why it could not be."""

    split: str
    id: str
    record: VideoRecord | None = None
    frames: NDArray[np.uint8] | None = None
    """T H W 3, if the record holds a video."""
    problem: str = ""


def describe(directory: str | Path) -> dict[str, Any]:
    """Figures of each split: {split: {records, seconds, bytes, latents, captions, sizes, shapes}}.

    `shapes` is the histogram of (frames, height, width, fps) and `sizes` that of (height, width,
    fps) with the least, middle and largest number of frames; the most frequent come first.
    """
    splits = index.read_index(directory).splits
    return {name: _describe(splits[name]) for name in sorted(splits, key=_first_train)}


def draw(directory: str | Path, count: int) -> list[Sample]:
    """About `count` records, spread evenly over the splits by their sizes, with their frames."""
    found = index.read_index(directory)
    total = sum(len(split) for split in found.splits.values())
    samples = []
    for name, split in found.splits.items():
        wanted = min(len(split), max(1, round(count * len(split) / total)))
        places = np.linspace(0, len(split) - 1, wanted).round().astype(int)
        source = records.open_split(directory, name)
        samples += [_open(name, source, int(i)) for i in places]
    return samples


def _describe(split: SplitIndex) -> dict[str, Any]:
    captions = np.asarray(split.num_captions)
    return {
        "records": len(split),
        "seconds": round(split.seconds, 3),
        "bytes": int(np.sum(split.payload_bytes)),
        "latents": int(np.sum(split.has_latents)),
        "captions": {
            "count": int(captions.sum()),
            "timed": int((captions - 1).sum()),
            "words": round(float(np.sum(split.caption_words) / captions.sum()), 2),
        },
        "sizes": _sizes(split),
        "shapes": _histogram(split),
    }


def _first_train(split: str) -> tuple[bool, str]:
    return split != "train", split


def _sizes(split: SplitIndex) -> list[dict[str, Any]]:
    table = np.stack([split.height, split.width, split.fps], axis=1).astype(np.float64)
    sizes, which, counts = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    found = []
    for i in np.argsort(-counts, kind="stable"):
        frames = np.sort(split.num_frames[which.reshape(-1) == i])
        found.append(
            {
                "height": int(sizes[i, 0]),
                "width": int(sizes[i, 1]),
                "fps": float(sizes[i, 2]),
                "records": int(counts[i]),
                "frames": [int(frames[0]), int(frames[len(frames) // 2]), int(frames[-1])],
            }
        )
    return found


def _histogram(split: SplitIndex) -> list[dict[str, Any]]:
    table = np.stack([split.num_frames, split.height, split.width, split.fps], axis=1)
    shapes, counts = np.unique(table.astype(np.float64), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        {
            "frames": int(shapes[i, 0]),
            "height": int(shapes[i, 1]),
            "width": int(shapes[i, 2]),
            "fps": float(shapes[i, 3]),
            "records": int(counts[i]),
        }
        for i in order
    ]


def _open(split: str, source: records.RecordSource, place: int) -> Sample:
    name = source.ids[place]
    try:
        record = source[place]
        frames = None if record.video is None else records.decode(record)
        return Sample(split=split, id=name, record=record, frames=frames)
    except (UsageError, LimitError) as error:
        return Sample(split=split, id=name, problem=str(error))


def strip(frames: NDArray[np.uint8], count: int = 5) -> NDArray[np.uint8]:
    """Evenly spaced frames side by side, H W 3; small ones are enlarged."""
    return sheets.contact_sheet([frames], frames=count)


def captions_of(samples: Sequence[Sample], limit: int) -> list[str]:
    """Global captions of samples, each once."""
    texts = [sample.record.caption for sample in samples if sample.record is not None]
    return list(dict.fromkeys(texts))[:limit]
