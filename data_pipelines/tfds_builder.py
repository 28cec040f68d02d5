"""The TFDS builder of video records: ArrayRecord shards, no TensorFlow."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from sora_jax.data import records, schema
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError


class Videos(tfds.core.GeneratorBasedBuilder):
    """Writes iterables of records, one a split, in their order."""

    VERSION = tfds.core.Version(records.BUILDER_VERSION)
    name = records.BUILDER
    pkg_dir_path = Path(__file__).parent

    def __init__(
        self,
        *,
        data_dir: Path,
        splits: Mapping[str, Iterable[VideoRecord]],
        note: Callable[[str, VideoRecord], None],
    ):
        self._iterables = splits
        self._note = note
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, features=records.features(), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {name: self._generate_examples(name) for name in self._iterables}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        count = 0
        for record in self._iterables[split]:
            self._note(split, record)
            yield count, schema.to_fields(record)
            count += 1
        if not count:
            raise UsageError(f"split {split!r} has no record; give it some or leave it out")
