"""Writing shards: records in, a directory of ArrayRecord files, their index and a manifest out.

The directory appears only when it is complete, under a fingerprint of what it was made from, so a
stage can be run again at no cost and a killed one leaves nothing that looks finished. Equal records
give equal bytes in every file.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.index_writer import SplitIndexWriter
from data_pipelines.tfds_writer import SplitWriter, write_info
from sora_jax import files
from sora_jax.data import index, records, schema
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError

type Progress = Callable[[str, int], None]  # split, records written so far


def is_complete(directory: str | Path, fingerprint: str) -> bool:
    """Whether `directory` holds the shards that were written under this fingerprint."""
    if not index.is_shards(directory):
        return False
    try:
        return index.read_manifest(directory)["fingerprint"] == fingerprint
    except UsageError:  # damaged, or of another version
        return False


def write(
    directory: str | Path,
    splits: Mapping[str, Iterable[VideoRecord]],
    *,
    fingerprint: str = "",
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the splits as shards in `directory`, in the order in which the records come.

    Nothing is done if it already holds shards of this fingerprint; shards of another one are
    replaced. `fingerprint` is any text that changes when the records would; `settings` is JSON on
    how they were made, kept in the manifest. Raises UsageError for a directory of other files, a
    split without records and two records of one id, and RunError when the disk is full; what was
    written so far is removed then, and older shards are still whole.
    """
    directory = Path(directory)
    if fingerprint and is_complete(directory, fingerprint):
        return
    if directory.exists() and any(directory.iterdir()) and not index.is_shards(directory):
        raise UsageError(f"{directory} holds other files; name an empty folder for the shards")
    partial = directory.with_name(f"{directory.name}.partial")
    with files.disk_errors(directory):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            figures = _write_splits(partial, splits, progress)
            manifest = {
                "format": index.FORMAT,
                "schema": schema.VERSION,
                "fingerprint": fingerprint,
                "settings": dict(settings or {}),
                "splits": figures,
                "files": _list_files(partial),
            }
            content = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
            files.write_text(partial / index.MANIFEST, content + "\n")
            _put_in_place(partial, directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as the manifest has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _write_splits(
    partial: Path, splits: Mapping[str, Iterable[VideoRecord]], progress: Progress | None
) -> dict[str, dict[str, Any]]:
    """Records and index of all splits; the figures of each for the manifest."""
    data = partial / records.BUILDER / records.BUILDER_VERSION
    data.mkdir(parents=True)
    figures, infos = {}, []
    for split, found in splits.items():
        shards = SplitWriter(data, split)
        columns = SplitIndexWriter(partial / index.FOLDER / split, split)
        for record in found:
            fields = schema.to_fields(record)
            columns.add(record.id, index.row(record, fields))
            shards.add(fields)
            if progress is not None:
                progress(split, columns.records)
        if not columns.records:
            raise UsageError(f"split {split!r} has no record; give it some or leave it out")
        infos.append(shards.close())
        figures[split] = columns.close()
    write_info(data, infos)
    return figures


def _list_files(directory: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file below a directory, by its path in it."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): {
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in paths
    }


def _put_in_place(partial: Path, directory: Path) -> None:
    """Rename `partial` to `directory`; the shards that are there go once the new ones are there."""
    old = directory.with_name(f"{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        os.rename(directory, old)
    os.rename(partial, directory)
    shutil.rmtree(old, ignore_errors=True)
