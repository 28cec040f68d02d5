"""A TFDS dataset of video records: ArrayRecord shards, written as they come, no TensorFlow.

`tfds.builder_from_directory` opens what is written. A GeneratorBasedBuilder would hold a split in
memory up to 1 GiB, and beyond that it asks TensorFlow for temporary files.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from sora_jax.data import records, schema
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError

_SHARD = 4096  # records
_BATCH = 256  # records between two updates of the metadata


def write_splits(
    data_dir: Path,
    splits: Mapping[str, Iterable[VideoRecord]],
    note: Callable[[str, VideoRecord], None],
) -> None:
    """Write the splits below `data_dir`, in the order of their records; `note` is told of each.

    Raises UsageError for a split without records.
    """
    directory = data_dir / records.BUILDER / records.BUILDER_VERSION
    directory.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=records.BUILDER,
        version=tfds.core.Version(records.BUILDER_VERSION),
        data_dir=str(directory),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(builder=identity, features=records.features())
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=_SHARD, file_format="array_record"
    )
    writer.initialize_splits(list(splits))
    for split, found in splits.items():
        examples = _told(found, split, note)
        written = 0
        for batch in itertools.batched(examples, _BATCH):
            writer.add_examples({split: list(batch)})
            written += len(batch)
        if not written:
            raise UsageError(f"split {split!r} has no record; give it some or leave it out")
    writer.close_all()


def _told(
    found: Iterable[VideoRecord], split: str, note: Callable[[str, VideoRecord], None]
) -> Iterator[dict[str, Any]]:
    for record in found:
        note(split, record)
        yield schema.to_fields(record)
