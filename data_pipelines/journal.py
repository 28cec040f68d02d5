"""What a stage has done so far, on disk: one line of JSON for each record that went in.

A line is whole or it is not there: half of one, left by a process that was killed, is cut off when
the journal is opened again. Lines are found by the input and the settings of the stage, so whatever
has changed is done again and nothing else is.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from data_pipelines import records
from data_pipelines.records import ClipRecord, Stage
from sora_jax import files


@dataclasses.dataclass(frozen=True)
class Entry:
    """What became of one record: what came out, and the seconds that it took."""

    out: list[ClipRecord]
    seconds: float


class Journal:
    """The journal of one stage at `path`."""

    def __init__(self, path: Path, stage: Stage):
        self._settings = repr(stage)
        self._path = path
        self._entries: dict[str, Entry] = {}
        with files.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, self._read())
            self._file = path.open("ab", buffering=0)

    def find(self, record: ClipRecord) -> Entry | None:
        """What the stage made of this record before, if it has."""
        return self._entries.get(self._key(record))

    def add(self, record: ClipRecord, entry: Entry) -> None:
        """Note what the stage made of a record; it is on disk when this returns."""
        key = self._key(record)
        line: dict[str, Any] = {"key": key, "seconds": round(entry.seconds, 4)}
        line["out"] = [json.loads(records.to_json(found)) for found in entry.out]
        with files.disk_errors(self._path):
            rest = memoryview(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
        self._entries[key] = entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _key(self, record: ClipRecord) -> str:
        return records.content_id(records.to_json(record), self._settings)

    def _read(self) -> int:
        """Take in all whole lines; the bytes that they are."""
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    values = json.loads(line)
                    out = [records.from_json(json.dumps(found)) for found in values["out"]]
                    self._entries[values["key"]] = Entry(out, values["seconds"])
                except (ValueError, KeyError, TypeError):
                    break  # damaged: from here on it is done again
                good += len(line)
        return good
