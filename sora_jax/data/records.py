"""Reading shards: random access to records, their pixels or latents, and tolerance of bad ones."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow_datasets.proto import tf_example_pb2

from sora_jax import media
from sora_jax.data import index, schema
from sora_jax.data.index import SplitIndex
from sora_jax.data.quarantine import MAX_BAD_SHARE, Quarantine
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import RunError, UsageError

BUILDER = "videos"
BUILDER_VERSION = f"{schema.VERSION}.0.0"

type Sample = dict[str, Any]


@runtime_checkable
class Source[T](Protocol):
    """Random access to items: what the loader takes, and what this module gives."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> T: ...


def features() -> tfds.features.FeaturesDict:
    """The TFDS features of `schema.to_fields`."""
    return tfds.features.FeaturesDict(
        {
            "version": np.int32,
            "id": tfds.features.Text(),
            "num_frames": np.int32,
            "height": np.int32,
            "width": np.int32,
            "video": np.bytes_,
            "latents": np.bytes_,
            "text_states": np.bytes_,
            "details": tfds.features.Text(),
        }
    )


def open_split(directory: str | Path, split: str, *, check_hash: bool = True) -> "RecordSource":
    """The records of one split of shards written by `data_pipelines.shards`.

    With `check_hash` each record is compared with its SHA-256 in the index when it is read.
    """
    found = index.read_index(directory)
    return RecordSource(Path(directory), split, found.split(split), check_hash=check_hash)


_UNREADABLE = (DecodeError, KeyError, RuntimeError, UsageError)


def _reason(error: Exception) -> str:
    # ArrayRecord's own message is many clauses with places in its source.
    return str(error) if isinstance(error, UsageError) else "its shard can't be read there"


def check(fields: Mapping[str, Any], sha256: NDArray[np.uint8]) -> None:
    """Raise UsageError if stored fields are not those whose SHA-256 stands in the index."""
    if schema.digest(fields) != sha256.tobytes():
        raise UsageError("its SHA-256 is not the one in the index")


class RecordSource:
    """Random access to the records of a split, in the order in which they were written."""

    def __init__(
        self, directory: Path, split: str, split_index: SplitIndex, *, check_hash: bool = True
    ):
        self._place = directory, split
        self._name = f"{directory}:{split}"
        try:
            builder = tfds.builder_from_directory(directory / BUILDER / BUILDER_VERSION)
            self._stored = builder.as_data_source(
                split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
            info = builder.info.splits[split]
            self._shards = [Path(path) for path in info.filepaths]
            self._shard_ends = np.cumsum(info.shard_lengths)
        except (OSError, ValueError, KeyError, ParseError) as error:
            raise UsageError(
                f"shards of {self._name} can't be opened ({error}); write them again"
            ) from error
        self.index = split_index
        self._check_hash = check_hash
        if len(self._stored) != len(split_index):
            raise UsageError(
                f"{self._name} holds {len(self._stored)} records and its index"
                f" {len(split_index)}; write the shards again"
            )

    def shard_of(self, index: int) -> Path:
        """The file that holds a record."""
        place = int(np.searchsorted(self._shard_ends, index, side="right"))
        return self._shards[place]

    @property
    def ids(self) -> Sequence[str]:
        """The id of each record."""
        return self.index.ids

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> VideoRecord:
        """The record. Raises UsageError, which names it, if it is not what was written."""
        try:
            return self._read(index)
        except _UNREADABLE as error:
            raise UsageError(
                f"record {self.ids[index]!r} of {self._name} is damaged ({_reason(error)});"
                " write the shards again"
            ) from error

    def damage(self, index: int) -> str:
        """Why a record is not what was written; empty if it is."""
        try:
            self._read(index)
        except _UNREADABLE as error:
            return _reason(error)
        return ""

    def _read(self, index: int) -> VideoRecord:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {self._name}, which has {len(self)}")
        fields = _fields(self._stored[index])
        if self._check_hash:
            check(fields, self.index.sha256[index])
        return schema.from_fields(fields)

    def __reduce__(self):
        """Opened again by the worker process that it is sent to: the index is not copied."""
        return functools.partial(open_split, check_hash=self._check_hash), self._place

    def __repr__(self) -> str:
        return f"RecordSource({self._name})"


def _fields(content: bytes) -> dict[str, Any]:
    """The fields of a stored record, each of one value. TFDS's own parser takes thrice the time."""
    stored = tf_example_pb2.Example.FromString(content).features.feature
    try:
        return {name: getattr(of, of.WhichOneof("kind")).value[0] for name, of in stored.items()}
    except (TypeError, IndexError) as error:
        raise DecodeError("a field has no value") from error


def decode(record: VideoRecord) -> NDArray[np.uint8]:
    """The pixels of a record, uint8 T H W 3, of just the shape that the record states."""
    if record.video is None:
        raise UsageError(f"record {record.id!r} holds latents only; decode them with the VAE")
    frames = media.decode_mp4(record.video)
    if frames.shape[:3] != record.shape:
        raise UsageError(
            f"record {record.id!r} decodes to {frames.shape[:3]} and states {record.shape};"
            " write it again"
        )
    return frames


class Tolerant[T, S]:
    """`function` of each item, where an item that fails (ValueError) is replaced by the next.

    Failing items are counted in a quarantine, which stops at its limit. Which item stands in
    depends on the data alone, so restarts see the same.
    """

    def __init__(
        self,
        source: Source[T],
        function: Callable[[T], S],
        *,
        max_bad_share: float = MAX_BAD_SHARE,
    ):
        self._source, self._function = source, function
        self._name = str(source) if isinstance(source, RecordSource) else type(source).__name__
        self._quarantine = Quarantine({self._name: len(source)}, max_share=max_bad_share)

    @property
    def bad(self) -> dict[int, str]:
        """Index and reason of each item that has failed so far."""
        return {index: reason for (_, index), reason in self._quarantine.bad.items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> S:
        for step in range(len(self)):
            i = (index + step) % len(self)
            if (self._name, i) in self._quarantine.bad:
                continue
            try:
                return self._function(self._source[i])
            except ValueError as error:
                self._quarantine.add(self._name, i, str(i), str(error))
        raise RunError(f"none of the {len(self)} records can be read; see the log")


class Columns:
    """Random access to samples held in memory as columns: {name: sequence of one length}."""

    def __init__(self, columns: Mapping[str, Sequence[Any] | NDArray]):
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise UsageError(f"columns have lengths {lengths}; they must be equal")
        self.columns = dict(columns)
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        return {name: column[index] for name, column in self.columns.items()}


def load_all(
    source: Source[VideoRecord], *, max_bad_share: float = MAX_BAD_SHARE, limit: int | None = None
) -> Columns:
    """A whole split in memory, or its first `limit` records.

    Columns are `record`, and `latents` or `video`, stacked. For sets that fit: the latents of
    32,768 small clips are tens of megabytes, and training then reads no file. All clips must have
    one shape; otherwise it is a UsageError. The records in the column are without their payload,
    which stands in the stacked array.
    """
    tolerant = Tolerant(source, _unpack, max_bad_share=max_bad_share)
    items = list(itertools.islice(_each(tolerant), limit))
    kind = items[0][0]
    shapes = sorted({(name, payload.shape) for name, payload, _ in items})
    if len(shapes) > 1:
        raise UsageError(f"clips have shapes {shapes}; load_all needs one, use the loader instead")
    return Columns(
        {
            kind: np.stack([payload for _, payload, _ in items]),
            "record": [record for _, _, record in items],
        }
    )


def _each[T, S](tolerant: Tolerant[T, S]) -> Iterator[S]:
    """Every good item once: a stand-in for a bad one is left out."""
    for i in range(len(tolerant)):
        item = tolerant[i]
        if i not in tolerant.bad:
            yield item


def _unpack(record: VideoRecord) -> tuple[str, NDArray, VideoRecord]:
    if record.latents is not None:
        empty = np.zeros((0, 0, 0, 0), record.latents.dtype)
        return "latents", record.latents, dataclasses.replace(record, latents=empty)
    return "video", decode(record), dataclasses.replace(record, video=b"")
