"""The shape index beside shards: what is known of every record without opening one.

A directory of shards holds

    MANIFEST.json               counts, settings, and the size and SHA-256 of every other file
    index/SPLIT/COLUMN.npy      one array a column, in the order of the records
    videos/VERSION/...          the records: ArrayRecord files with TFDS metadata

Columns are memory-mapped, so that ten million records cost no memory until they are looked at, and
no pickle is read. `data_pipelines.shards` writes them.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import schema
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError

MANIFEST = "MANIFEST.json"
FOLDER = "index"
FORMAT = 1
# Name, type and shape of an entry. Ids are UTF-8 in one array of bytes and their ends in another.
COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "num_frames": ("<i4", ()),
    "height": ("<i4", ()),
    "width": ("<i4", ()),
    "fps": ("<f8", ()),
    "has_latents": ("|b1", ()),
    "payload_bytes": ("<i8", ()),
    "num_captions": ("<i4", ()),
    "caption_chars": ("<i4", ()),
    "caption_words": ("<i4", ()),
    "sha256": ("|u1", (32,)),
    "id_end": ("<i8", ()),
}


class Strings(Sequence[str]):
    """Strings stored end to end in one array of UTF-8 bytes; `ends` says where each stops."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]):
        self._text = text
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside of {len(self)} strings")
        index %= len(self)
        start = int(self._ends[index - 1]) if index else 0
        return self._text[start : int(self._ends[index])].tobytes().decode(errors="replace")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SplitIndex:
    """Columns of one split; entry `i` is of record `i`. All arrays have the same length N."""

    ids: Strings
    """Unique in the split."""
    num_frames: NDArray[np.int32]
    """Of pixels, like height and width, also where latents are stored."""
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    fps: NDArray[np.float64]
    has_latents: NDArray[np.bool_]
    """Whether the payload is latents; otherwise it is an mp4."""
    payload_bytes: NDArray[np.int64]
    num_captions: NDArray[np.int32]
    """The first is the global one, the others are timed."""
    caption_chars: NDArray[np.int32]
    """Characters of all captions of a record together: a tokenizer that spells gives no more."""
    caption_words: NDArray[np.int32]
    """Words of all captions together."""
    sha256: NDArray[np.uint8]
    """N 32: `schema.digest` of each record."""

    def __len__(self) -> int:
        return len(self.num_frames)

    def shape(self, index: int) -> tuple[int, int, int]:
        """Frames, height and width of a record in pixels."""
        return int(self.num_frames[index]), int(self.height[index]), int(self.width[index])

    @property
    def shapes(self) -> NDArray[np.int32]:
        """N 3: frames, height and width of all records, in memory."""
        return np.stack([self.num_frames, self.height, self.width], axis=1)

    @property
    def seconds(self) -> float:
        """Length of all clips together."""
        return float(np.sum(self.num_frames / self.fps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The manifest of a directory of shards and the index of each of its splits."""

    directory: Path
    fingerprint: str
    """Changes when the records would."""
    settings: Mapping[str, Any]
    """What the records were made with, as the writer was told."""
    splits: Mapping[str, SplitIndex]
    files: Mapping[str, Mapping[str, Any]]
    """Path below the directory: {"size", "sha256"}."""

    def split(self, name: str) -> SplitIndex:
        """The index of one split. Raises UsageError with the names that there are."""
        if name not in self.splits:
            known = ", ".join(sorted(self.splits))
            raise UsageError(f"no split {name!r} in {self.directory}; it has {known}")
        return self.splits[name]


def row(record: VideoRecord, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The index's entries of a record; `fields` are those of `schema.to_fields(record)`."""
    payload = fields["latents"] if record.latents is not None else fields["video"]
    return {
        "num_frames": record.num_frames,
        "height": record.height,
        "width": record.width,
        "fps": record.fps,
        "has_latents": record.latents is not None,
        "payload_bytes": len(payload),
        "num_captions": len(record.captions),
        "caption_chars": sum(len(caption.text) for caption in record.captions),
        "caption_words": sum(len(caption.text.split()) for caption in record.captions),
        "sha256": np.frombuffer(schema.digest(fields), np.uint8),
    }


def is_shards(directory: str | Path) -> bool:
    """Whether a directory holds shards, be they whole or damaged."""
    return (Path(directory) / MANIFEST).is_file() and (Path(directory) / FOLDER).is_dir()


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """MANIFEST.json of shards. Raises UsageError if there are none, or of another version."""
    path = Path(directory) / MANIFEST
    if not is_shards(directory):
        raise UsageError(f"no shards in {directory} ({MANIFEST} or {FOLDER}/ is missing)")
    try:
        content = json.loads(path.read_text())
        versions = content["format"], content["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); write the shards again") from error
    if versions != (FORMAT, schema.VERSION):
        raise UsageError(
            f"{directory} has format and record version {versions}, this code reads"
            f" {(FORMAT, schema.VERSION)}; write the shards again"
        )
    return content


def read_index(directory: str | Path) -> ShardIndex:
    """Manifest and index of the shards in a directory; no record is opened.

    Raises UsageError for a folder without shards, and for an index that is damaged.
    """
    directory = Path(directory)
    content = read_manifest(directory)
    try:
        return ShardIndex(
            directory=directory,
            fingerprint=content["fingerprint"],
            settings=content["settings"],
            splits={
                name: _read_split(directory / FOLDER / name, values["records"])
                for name, values in content["splits"].items()
            },
            files=content["files"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        path = directory / MANIFEST
        raise UsageError(f"{path} is damaged ({error!r}); write the shards again") from error


def _read_split(folder: Path, records: int) -> SplitIndex:
    columns = {name: _column(folder / f"{name}.npy") for name in [*COLUMNS, "id"]}
    for name, (dtype, shape) in COLUMNS.items():
        column = columns[name]
        if column.dtype != np.dtype(dtype) or column.shape != (records, *shape):
            raise UsageError(
                f"{folder / name}.npy has {column.dtype}{list(column.shape)} and {MANIFEST} wants"
                f" {np.dtype(dtype)}{[records, *shape]}; write the shards again"
            )
    ids = Strings(columns.pop("id"), columns.pop("id_end"))
    return SplitIndex(ids=ids, **columns)


def _column(path: Path) -> NDArray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(
            f"{path} of the index can't be read ({error}); write the shards again"
        ) from error
