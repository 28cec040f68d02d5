"""Where the time of a run went, over all its attempts: `attempts.jsonl` and a table of shares.

The process that writes adds a line at every log line: what it has spent its time on so far and
which step it has reached. The last line of an attempt counts, so that a kill costs no more than
the lines since. `launch local` adds a line when an attempt is over.
"""

import dataclasses
import functools
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "attempts.jsonl"
ACTIVITIES = ("init", "restore", "compile", "data", "step", "save", "evaluate")
_IMPORTED = time.time()


class Ledger:
    """The time of this process from now on, by activity; the first is `init`.

    A file that can't be written is told of once, and hurts nothing else.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._seconds = dict.fromkeys(ACTIVITIES, 0.0)
        self._doing, self._since = "init", time.monotonic()
        self._began, self._started = time.time(), _process_start()
        self._start_step: int | None = None

    def enter(self, activity: str) -> None:
        """What came before is over, `activity` begins."""
        now = time.monotonic()
        self._seconds[self._doing] += now - self._since
        self._doing, self._since = activity, now

    def write(self, step: int | None = None) -> None:
        """Add a line; `step` is what the training has reached, if it is one."""
        self._start_step = step if self._start_step is None else self._start_step
        if self._path is None:
            return
        self.enter(self._doing)
        line = {
            "event": "progress",
            "process": os.getpid(),
            "started": self._started,
            "began": round(self._began, 3),
            "time": round(time.time(), 3),
            "start_step": self._start_step,
            "step": step,
            "seconds": {name: round(value, 3) for name, value in self._seconds.items()},
        }
        try:
            append(self._path, line)
        except OSError as error:
            logging.warning("%s can't be written (%s); the table will lack it", self._path, error)
            self._path = None


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add one line of JSON and see it on disk."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")
        os.fsync(file.fileno())


@dataclasses.dataclass(frozen=True)
class Goodput:
    """Seconds of a run's wall time by what they went into; they add up to the whole."""

    seconds: dict[str, float]
    attempts: int
    lost_steps: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def shares(self) -> dict[str, float]:
        return {name: value / max(self.total, 1e-9) for name, value in self.seconds.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            "shares": self.shares,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "lost_steps": self.lost_steps,
        }

    def table(self) -> str:
        """For people: a line a share."""
        rows = [
            f"  {name:9} {share:6.1%} {self.seconds[name]:9.1f} s"
            for name, share in self.shares.items()
        ]
        tries = f"{self.attempts} attempt" + "s" * (self.attempts != 1)
        head = f"where the time went ({self.total:.0f} s, {tries}, {self.lost_steps} steps lost):"
        return "\n".join([head, *rows])


def summarise(workdir: Path) -> Goodput | None:
    """From all `attempts.jsonl` of a run directory and its stages; None if there are none.

    `init` is what no other activity claims: imports, data, restoring. `lost` is work that was done
    again, and what an attempt did after its last line. `idle` lies between attempts.
    """
    stages: dict[str, list[dict[str, Any]]] = {}  # lines of the loops and other work, by place
    ends: list[dict[str, Any]] = []
    for path in sorted([*workdir.glob(FILE), *workdir.glob(f"*/{FILE}")]):
        for line in _lines(path):
            if line["event"] == "end":
                ends.append(line)
            else:
                stages.setdefault(str(path.parent), []).append(line)
    attempts: dict[tuple, list[dict[str, Any]]] = {}
    again, lost_steps = dict.fromkeys(ACTIVITIES, 0.0), 0
    for lines in stages.values():
        last = list({(*_attempt(line), line["began"]): line for line in lines}.values())
        lost_steps += _count_again([line for line in last if line["step"] is not None], again)
        for line in last:
            attempts.setdefault(_attempt(line), []).append(line)
    if not attempts:
        return None
    seconds = dict.fromkeys((*ACTIVITIES, "lost", "idle"), 0.0)
    now = min(line["started"] for line in sum(attempts.values(), []))
    for lines in sorted(attempts.values(), key=lambda lines: lines[0]["started"]):
        seconds["idle"] += max(0.0, lines[0]["started"] - now)
        told = max(line["time"] for line in lines)
        for line in lines:
            for name, value in line["seconds"].items():
                seconds[name] += value
        claimed = sum(sum(line["seconds"].values()) for line in lines)
        seconds["init"] += max(0.0, told - lines[0]["started"] - claimed)
        end = next((end for end in ends if end["began"] <= lines[0]["started"] <= end["time"]), {})
        if end:
            seconds["lost" if end["code"] else "idle"] += max(0.0, end["time"] - told)
        now = end.get("time", told)
    for name, value in again.items():
        seconds[name] -= value
        seconds["lost"] += value
    seconds["init"] += seconds.pop("restore")
    return Goodput(seconds, len(attempts), lost_steps)


def _count_again(lines: Sequence[dict[str, Any]], seconds: dict[str, float]) -> int:
    """Steps of attempts that later ones did again; their share of what went with them is added."""
    found = 0
    for before, after in zip(lines, lines[1:], strict=False):
        steps = before["step"] - max(after["start_step"], before["start_step"])
        if steps > 0:
            found += steps
            share = steps / (before["step"] - before["start_step"])
            for name in ("data", "step", "save", "evaluate"):
                seconds[name] += share * before["seconds"][name]
    return found


def _attempt(line: Mapping[str, Any]) -> tuple:
    """The process that a line is of; numbers of processes come again."""
    return line["process"], line["started"]


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines; one that a crash cut off is no record."""
    found = []
    for text in path.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


@functools.cache
def _process_start() -> float:
    """When this process was made, as time.time() counts; its imports are part of its time."""
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        up = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return _IMPORTED
    age = up - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return round(time.time() - age, 3) if 0 <= age < up else _IMPORTED
