"""A TFDS dataset of video records: ArrayRecord shards, written as they come, no TensorFlow.

`tfds.builder_from_directory` opens what is written. TFDS's own writers are not used: a
GeneratorBasedBuilder holds a split in memory up to 1 GiB and then asks TensorFlow for temporary
files, and SequentialWriter serialises protobuf maps in an order that differs between runs, so that
the same records give other bytes.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from sora_jax.data import records
from sora_jax.errors import RunError

SHARD_BYTES = 2**28  # about: a shard is closed by the record that goes over it
SHARD_RECORDS = 4096
# One record a group: reading one at random reads no other. Payloads are compressed by their codec.
_OPTIONS = "group_size:1,uncompressed"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"


class SplitWriter:
    """Shards of one split, one after the other."""

    def __init__(self, directory: Path, split: str):
        self._template = tfds.core.ShardedFileTemplate(
            data_dir=directory,
            dataset_name=records.BUILDER,
            split=split,
            filetype_suffix="array_record",
            template=_TEMPLATE,
        )
        self._writer: ArrayRecordWriter | None = None
        self._path = ""
        self._split = split
        self._lengths: list[int] = []
        self._bytes: list[int] = []

    def add(self, fields: Mapping[str, Any]) -> None:
        """Write a record, given as by `schema.to_fields`. Raises RunError for a full disk."""
        writer = self._writer or self._open_shard()
        content = _example(fields).SerializeToString(deterministic=True)
        with _write_errors(self._path):
            writer.write(content)
        self._lengths[-1] += 1
        self._bytes[-1] += len(content)
        if self._lengths[-1] >= SHARD_RECORDS or self._bytes[-1] >= SHARD_BYTES:
            self._close_shard()

    def close(self) -> tfds.core.SplitInfo:
        """Close the last shard; what TFDS wants to know of the split."""
        self._close_shard()
        return tfds.core.SplitInfo(
            name=self._split,
            shard_lengths=self._lengths,
            num_bytes=sum(self._bytes),
            filename_template=self._template,
        )

    def _open_shard(self) -> ArrayRecordWriter:
        path = self._template.sharded_filepath(shard_index=len(self._lengths), num_shards=None)
        self._path = os.fspath(path)
        self._lengths.append(0)
        self._bytes.append(0)
        self._writer = ArrayRecordWriter(self._path, _OPTIONS)
        return self._writer

    def _close_shard(self) -> None:
        if self._writer is not None:
            with _write_errors(self._path):
                self._writer.close()
            self._writer = None


def _example(fields: Mapping[str, Any]) -> tf_example_pb2.Example:
    """A tf.train.Example of whole numbers and texts, as TFDS's own much slower serialiser makes."""
    features = {}
    for name, value in fields.items():
        if isinstance(value, int):
            features[name] = tf_feature_pb2.Feature(
                int64_list=tf_feature_pb2.Int64List(value=[value])
            )
        else:
            content = value.encode() if isinstance(value, str) else value
            features[name] = tf_feature_pb2.Feature(
                bytes_list=tf_feature_pb2.BytesList(value=[content])
            )
    return tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=features))


def write_info(directory: Path, splits: list[tfds.core.SplitInfo]) -> None:
    """Write the metadata by which TFDS opens the shards in `directory`."""
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=records.BUILDER,
        version=tfds.core.Version(records.BUILDER_VERSION),
        data_dir=str(directory),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(builder=identity, features=records.features())
    info.set_file_format("array_record")
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(directory)


@contextlib.contextmanager
def _write_errors(path: str) -> Iterator[None]:
    """ArrayRecord says why it can't write as a RuntimeError of many clauses; the first is why."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        raise RunError(
            f"cannot write {path}: {reason}; free some space and run the same command again"
        ) from error
