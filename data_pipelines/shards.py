"""Writing shards: records in, a directory of ArrayRecord files and an index out.

The directory appears only when it is complete, under a fingerprint of what it was made from, so a
stage can be run again at no cost and a killed one leaves nothing that looks finished.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_pipelines import tfds_writer
from sora_jax import files
from sora_jax.data import records
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError

type Progress = Callable[[str, int], None]  # split, records written so far


def is_complete(directory: str | Path, fingerprint: str) -> bool:
    """Whether `directory` holds the shards that were written under this fingerprint."""
    if not (Path(directory) / records.INDEX).exists():
        return False
    return records.read_index(directory)["fingerprint"] == fingerprint


def write(
    directory: str | Path,
    splits: Mapping[str, Iterable[VideoRecord]],
    *,
    fingerprint: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the splits as shards in `directory`, in the order in which the records come.

    Nothing is done if it already holds shards of this fingerprint; shards of another one are
    replaced. `fingerprint` is any text that changes when the records would.
    """
    directory = Path(directory)
    if fingerprint and is_complete(directory, fingerprint):
        return
    if directory.exists() and any(directory.iterdir()) and not _is_shards(directory):
        raise UsageError(f"{directory} holds other files; name an empty folder for the shards")
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    index: dict[str, Any] = {name: {"ids": [], "shapes": []} for name in splits}

    def note(split: str, record: VideoRecord) -> None:
        index[split]["ids"].append(record.id)
        index[split]["shapes"].append(record.shape)
        if progress is not None:
            progress(split, len(index[split]["ids"]))

    with files.disk_errors(directory):
        tfds_writer.write_splits(partial, splits, note)
        content = {"fingerprint": fingerprint, "splits": index}
        files.write_text(partial / records.INDEX, json.dumps(content))
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(partial, directory)


def rendered(
    function: Callable[[int], VideoRecord], count: int, *, workers: int = 0, start: int = 0
) -> Iterator[VideoRecord]:
    """`function(start)` ... `function(start + count - 1)` in order, on `workers` processes.

    With workers, `function` must be picklable and importable: fresh processes are started
    (a fork of a process that runs JAX may hang).
    """
    indices = range(start, start + count)
    if workers < 2:
        yield from map(function, indices)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, indices, chunksize=32)


def _is_shards(directory: Path) -> bool:
    return (directory / records.INDEX).exists()
