"""Whether shards are still what was written: every file and every record is hashed again."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_pipelines.shards import file_sha256
from sora_jax.data import index, records
from sora_jax.errors import UsageError

type Progress = Callable[[str, int, int], None]  # what is checked, done, of how many


@dataclasses.dataclass(frozen=True, kw_only=True)
class Damage:
    """Something that is not as it was written; `record` is empty where a whole file is meant."""

    file: str
    """Path below the directory of the shards."""
    record: str = ""
    split: str = ""
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What was looked at, and what of it is damaged."""

    files: int
    records: int
    damage: tuple[Damage, ...]
    unlisted: tuple[str, ...]
    """Files that the manifest does not know: no harm, but not from the writer."""

    @property
    def damaged_files(self) -> list[str]:
        """Paths of files whose bytes are not those of the manifest."""
        return [item.file for item in self.damage if not item.record]

    @property
    def damaged_records(self) -> list[str]:
        """Ids of records that can't be read or have another hash, as SPLIT:ID."""
        return [f"{item.split}:{item.record}" for item in self.damage if item.record]


def verify(directory: str | Path, progress: Progress | None = None) -> Verification:
    """Hash every file of the manifest and every record of the index, and compare.

    Raises UsageError for a directory that holds no shards, or shards of another version.
    """
    directory = Path(directory)
    manifest = index.read_manifest(directory)
    tell = progress or (lambda *_: None)
    listed = manifest["files"]
    damage = list(_files(directory, listed, tell))
    count = 0
    for split, figures in manifest["splits"].items():
        count += figures["records"]
        damage += _records(directory, split, tell)
    found = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
    return Verification(
        files=len(listed),
        records=count,
        damage=tuple(damage),
        unlisted=tuple(sorted(found - set(listed) - {index.MANIFEST})),
    )


def _files(directory: Path, listed: dict[str, Any], tell: Progress) -> Iterator[Damage]:
    for done, (name, wanted) in enumerate(listed.items()):
        tell("files", done, len(listed))
        path = directory / name
        try:
            size = path.stat().st_size
            if size != wanted["size"]:
                yield Damage(file=name, reason=f"has {size} bytes, {wanted['size']} were written")
            elif file_sha256(path) != wanted["sha256"]:
                yield Damage(file=name, reason="its SHA-256 is not that of the file written")
        except FileNotFoundError:
            yield Damage(file=name, reason="is missing")
        except OSError as error:
            yield Damage(file=name, reason=f"can't be read ({error.strerror})")
    tell("files", len(listed), len(listed))


def _records(directory: Path, split: str, tell: Progress) -> Iterator[Damage]:
    try:
        source = records.open_split(directory, split)
    except UsageError as error:
        yield Damage(file=f"{index.FOLDER}/{split}", split=split, reason=str(error))
        return
    for i in range(len(source)):
        if i % 64 == 0:
            tell(f"records of {split}", i, len(source))
        reason = source.damage(i)
        if reason:
            yield Damage(
                file=source.shard_of(i).relative_to(directory).as_posix(),
                record=source.ids[i],
                split=split,
                reason=reason,
            )
    tell(f"records of {split}", len(source), len(source))
