"""Cycles of the attention kernels, of whose inside the compiler's estimates say nothing.

The compiler's schedule of one kernel, compiled alone, lists its bundles: a core issues one in a
cycle. `read_schedule` takes from it what a visit of a pair of blocks costs; `TABLE` holds the
results for the blocks in use, and `cycles` multiplies them by the visits of a call.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import files
from sora_jax.errors import RunError
from sora_jax.models.splash_kernels import BACKWARD, FORWARD, Blocks
from sora_jax.plan.chips import Chip
from sora_jax.plan.cost import KernelCall

TABLE = Path(__file__).with_name("kernels.json")
_MARK = re.compile(r"\b(Start|End) region (\d+)")
_ADDRESS = re.compile(r"^\s*(0x[0-9a-f]+|0)\s+(?:[A-Z]{2})?\s*:")
_LEAST = 60  # bundles: shorter regions only start or await copies
_PRODUCTS = {FORWARD: 2, BACKWARD: 5}  # of queries x keys x head width, in one visit
_PARTS = {FORWARD: 4, BACKWARD: 6}  # regions: start(s), plain visit, masked visit, finish(es)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Bundles of one core for one kernel."""

    plain: int  # a visit of two blocks of one segment
    masked: int  # a visit that compares segments
    around: int  # what each step of the grid costs besides
    ends: int  # start and finish of one row of visits


@dataclasses.dataclass(frozen=True)
class Visits:
    """How often a call of one head visits pairs of blocks, by what it does there."""

    plain: int
    masked: int
    passed: int
    rows: int  # of visits, each with a start and a finish


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Which kernel a call is, read off its name in the program."""

    kind: str
    blocks: Blocks
    has_spans: bool
    width: int  # of a head

    @property
    def name(self) -> str:
        block = self.blocks
        spans = "_spans" if self.has_spans else ""
        return f"{self.kind}{spans}_{block.query}_{block.key}_{block.step}"


def identify(call: KernelCall) -> Kernel | None:
    """The kernel of a call; None for one that is not ours."""
    found = re.search(rf"({FORWARD}|{BACKWARD})(_spans)?_(\d+)_(\d+)_(\d+)", call.name)
    if not found:
        return None
    query, key, step = map(int, found.groups()[2:])
    blocks = Blocks(query=query, key=key, step=step)
    return Kernel(found[1], blocks, bool(found[2]), call.operands[6].dims[-1])


def cycles(call: KernelCall, kernel: Kernel, schedule: Schedule, chip: Chip, visits: Visits) -> int:
    """Cycles of one run of the call: heads are shared out over the chip's cores.

    A visit takes its bundles or as long as its products keep the matrix units, if that is longer.
    """
    bound = visit_flops(kernel) / chip.flops_per_cycle
    steps = visits.plain + visits.masked + visits.passed
    of_head = (
        visits.plain * max(schedule.plain, bound)
        + visits.masked * max(schedule.masked, bound)
        + steps * schedule.around
        + visits.rows * schedule.ends
    )
    heads = call.operands[6].dims[0]
    return math.ceil(math.ceil(heads / chip.cores) * of_head)


def visit_flops(kernel: Kernel) -> int:
    """FLOPs of the matrix products of one visit."""
    return 2 * _PRODUCTS[kernel.kind] * kernel.blocks.query * kernel.blocks.key * kernel.width


def count_visits(kernel: Kernel, queries: NDArray[np.int32], keys: NDArray[np.int32]) -> Visits:
    """Visits of one row with these segments, by the rule of the kernels themselves."""
    block = kernel.blocks
    low, high = _edges(queries, block.query)
    key_low, key_high = _edges(keys, block.key)
    meet = (low[:, None] <= key_high) & (key_low <= high[:, None])
    mixed = (low != high)[:, None] | (key_low != key_high)
    masked = meet if kernel.has_spans else meet & mixed
    rows = len(low) if kernel.kind == FORWARD else len(key_low)
    return Visits(int((meet & ~masked).sum()), int(masked.sum()), int((~meet).sum()), rows)


def read_schedule(text: str, kernel: Kernel) -> Schedule:
    """The costs in the text of a kernel's final bundles (`*-final_bundles.txt` of libtpu).

    Raises RunError if the text does not have the parts that the kernel is written in.
    """
    start: dict[int, int] = {}
    regions: list[tuple[int, int]] = []
    address = 0
    for line in text.splitlines():
        found = _ADDRESS.match(line)
        address = int(found[1], 16) if found else address
        for mark, number in _MARK.findall(line):
            if mark == "Start":
                start[int(number)] = address
            elif int(number) in start:
                regions.append((start[int(number)], address))
    # The grid's loop is the longest region, its body the longest within: where windows are ready.
    loop, body = sorted(regions, key=_length, reverse=True)[:2]
    parts = [r for r in regions if body[0] < r[0] and r[1] < body[1] and _length(r) >= _LEAST]
    parts = sorted(r for r in parts if not any(_within(r, other) for other in parts))
    lengths = [_length(part) for part in parts]
    middle = _PARTS[kernel.kind] // 2
    if kernel.has_spans:  # every visit compares: there is no plain one
        lengths.insert(middle - 1, 0)
    if len(lengths) != _PARTS[kernel.kind]:
        raise RunError(
            f"the schedule of {kernel.name} has {len(parts)} parts and {_PARTS[kernel.kind]} are "
            "known; this libtpu lays it out in another way: use that of requirements-tpu.lock"
        )
    plain, masked = lengths[middle - 1], lengths[middle]
    return Schedule(
        plain=plain,
        masked=masked,
        around=_length(loop) - sum(lengths),
        ends=sum(lengths) - plain - masked,
    )


def load_table(path: Path = TABLE) -> dict[str, Any]:
    """The stored schedules: libtpu's version, and by chip, kernel and head width the bundles."""
    return json.loads(path.read_text())


def lookup(table: dict[str, Any], chip: Chip, kernel: Kernel) -> Schedule | None:
    """The stored schedule of a kernel."""
    entry = table["schedules"].get(f"{chip.name} {kernel.name} {kernel.width}")
    return Schedule(**entry) if entry else None


def store(table: dict[str, Any], chip: Chip, kernel: Kernel, schedule: Schedule) -> None:
    """Put a schedule into the table and its file."""
    table["schedules"][f"{chip.name} {kernel.name} {kernel.width}"] = dataclasses.asdict(schedule)
    lines = [
        f"    {json.dumps(name)}: {json.dumps(entry)}"
        for name, entry in sorted(table["schedules"].items())
    ]
    text = ",\n".join(lines)
    head = f'{{\n  "libtpu": {json.dumps(table["libtpu"])},\n  "schedules": {{\n'
    files.write_text(TABLE, f"{head}{text}\n  }}\n}}\n")


def per_pair(schedule: Schedule, kernel: Kernel, chip: Chip) -> float:
    """Cycles of one core for each pair of a query and a key, in a long row of one segment."""
    bound = visit_flops(kernel) / chip.flops_per_cycle
    visit = max(schedule.plain, bound) + schedule.around
    return visit / (kernel.blocks.query * kernel.blocks.key)


type Measure = Callable[[Chip, Kernel], Schedule]


def _edges(segments: NDArray[np.int32], block: int) -> tuple[NDArray, NDArray]:
    padded = np.pad(segments, (0, -len(segments) % block), constant_values=-(2**24))
    parts = padded.reshape(-1, block)
    return parts.min(1), parts.max(1)


def _length(region: tuple[int, int]) -> int:
    return region[1] - region[0] + 1


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]
