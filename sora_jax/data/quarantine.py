"""Records that cannot be used, and the account of an epoch: nothing is lost without a word."""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sora_jax import files
from sora_jax.data.plan import Plan
from sora_jax.errors import RunError

FILE = "quarantine.jsonl"
MAX_BAD_SHARE = 0.001  # of the records, unless another is stated


class Quarantine:
    """Bad records by (source, index) with their reasons; too many of them end the run.

    `totals` are the records of each source. With `path`, each bad one is a line of that file, and
    those that are in it already count: processes of one run share it, and so do its restarts.
    Delete the file to begin anew. Threads may share a quarantine.
    """

    def __init__(
        self,
        totals: Mapping[str, int],
        *,
        max_share: float = MAX_BAD_SHARE,
        path: Path | None = None,
    ):
        self._totals, self._path = dict(totals), path
        self._total = sum(totals.values())
        self._limit = int(max_share * self._total)
        self._lock = threading.Lock()
        self._read = 0  # bytes of the file that are known
        self.bad: dict[tuple[str, int], str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up what other processes have written."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]  # another process may be in the middle of one
        self._read += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            if entry["source"] in self._totals:
                self.bad.setdefault((entry["source"], entry["index"]), entry["reason"])

    def add(self, source: str, index: int, name: str, reason: str) -> None:
        """Count a record, once. Raises RunError when more than the stated share are bad."""
        with self._lock:
            self.refresh()
            if (source, index) not in self.bad:
                self.bad[source, index] = reason
                logging.warning("record %r of %s is left out: %s", name, source, reason)
                self._write({"source": source, "index": index, "id": name, "reason": reason})
            if len(self.bad) > self._limit:
                where = f"; they are named in {self._path}" if self._path else ""
                raise RunError(
                    f"{len(self.bad)} of {self._total} records can't be used, over the limit of "
                    f"{self._limit}{where}; the last: {reason}"
                )

    def _write(self, entry: dict) -> None:
        if self._path is None:
            return
        with files.disk_errors(self._path), self._path.open("ab", buffering=0) as file:
            file.write((json.dumps(entry) + "\n").encode())


class Account:
    """What has become of every clip of the epoch: seen, quarantined or filtered.

    It is counted from the rows as they are used, and compared with the index at the epoch's end.
    """

    def __init__(self, plan: Plan, quarantine: Quarantine):
        self._plan, self._quarantine = plan, quarantine
        self._epoch = 0
        self._next_row = 0
        self._seen = np.zeros(sum(plan.sizes), bool)

    def seek(self, row: int) -> None:
        """Stand before a row, with what its epoch has had until there."""
        self._epoch = self._plan.epoch_of(row)
        self._seen[:] = False
        self._next_row = self._plan.epoch_start(self._epoch)
        self._mark(row)

    def take(self, stop: int) -> list[str]:
        """Count the rows up to `stop`; a line for each part of each epoch that is over.

        Raises RunError if clips are missing from such an epoch.
        """
        lines: list[str] = []
        while self._next_row < stop:
            end = self._plan.epoch_start(self._epoch + 1)
            self._mark(min(stop, end))
            if self._next_row == end:
                lines += self._close()
        return lines

    def _mark(self, stop: int) -> None:
        numbers = self._plan.numbers(self._next_row, stop)
        self._seen[numbers[numbers >= 0]] = True
        self._next_row = stop

    def _close(self) -> list[str]:
        self._quarantine.refresh()
        starts = np.cumsum([0, *self._plan.sizes])
        lines = []
        for part, name in enumerate(self._plan.parts):
            total = self._plan.sizes[part]
            seen = self._seen[starts[part] : starts[part + 1]]
            bad = [i for (source, i) in self._quarantine.bad if source == name and seen[i]]
            counts = int(seen.sum()) - len(bad), len(bad), total - self._plan.usable(part)
            lines.append(_line(self._epoch, name, counts, total))
            if sum(counts) != total:
                raise RunError(f"{lines[-1]}: clips are missing from the plan; this is a bug")
        self._epoch += 1
        self._seen[:] = False
        return lines


def _line(epoch: int, name: str, counts: Sequence[int], total: int) -> str:
    seen, bad, filtered = counts
    return (
        f"epoch {epoch} of {name}: {seen} clips seen + {bad} quarantined + {filtered} filtered"
        f" = {sum(counts)} of {total} in the index"
    )
