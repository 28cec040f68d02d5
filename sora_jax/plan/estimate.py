"""From a compiled program to memory, seconds and their parts. Everything `est_` is an estimate."""

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.plan import kernels
from sora_jax.plan.chips import Chip, Topology
from sora_jax.plan.cost import Collective, Cost, KernelCall
from sora_jax.plan.hlo import Module

_SHOWN = 8  # buffers and operations in a report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The segments of one packed row, which say what its attention visits."""

    tokens: NDArray[np.int32]
    text: NDArray[np.int32]

    def as_one_clip(self) -> "Row":
        """As many tokens and words, all of one segment: every visit is made."""
        return Row(tokens=np.zeros_like(self.tokens), text=np.zeros_like(self.text))

    def of(self, length: int, block: int) -> NDArray[np.int32] | None:
        """The segments that `length` padded tokens stand for; None for a part of the row."""
        for segments in (self.tokens, self.text):
            if len(segments) <= length < len(segments) + block:
                return segments
        return None


@dataclasses.dataclass(frozen=True)
class Timed:
    """One kernel call with its estimate."""

    call: KernelCall
    kernel: kernels.Kernel
    schedule: kernels.Schedule
    visits: kernels.Visits
    cycles: int  # of all runs


def time_kernels(
    cost: Cost, chip: Chip, row: Row, find: kernels.Measure
) -> tuple[list[Timed], list[str]]:
    """The kernel calls that are ours with their cycles, and the names of those that are not."""
    timed, unknown = [], []
    for call in cost.kernels:
        kernel = kernels.identify(call)
        if kernel is None:
            unknown.append(call.name)
            continue
        schedule = find(chip, kernel)
        visits = _visits(call, kernel, row)
        once = kernels.cycles(call, kernel, schedule, chip, visits)
        timed.append(Timed(call, kernel, schedule, visits, once * call.times))
    return timed, unknown


def kernel_flops(timed: list[Timed]) -> int:
    """FLOPs of the matrix products inside the kernels, of blocks that are visited."""
    return sum(
        item.call.times
        * item.call.operands[6].dims[0]
        * (item.visits.plain + item.visits.masked)
        * kernels.visit_flops(item.kernel)
        for item in timed
    )


def _visits(call: KernelCall, kernel: kernels.Kernel, row: Row) -> kernels.Visits:
    """Visits for the row at hand; a part of a row (a ring) is taken to be of one segment."""
    length, keys = call.operands[6].dims[1], call.operands[7].dims[1]
    queries = row.of(length, kernel.blocks.query)
    others = row.of(keys, kernel.blocks.key)
    if queries is None or others is None:
        queries, others = np.zeros(length, np.int32), np.zeros(keys, np.int32)
    return kernels.count_visits(kernel, queries, others)


def seconds(cost: Cost, timed: list[Timed], topology: Topology) -> dict[str, float]:
    """`est_step_seconds`: nothing overlaps in `total`, which has the upper bound of exchanges."""
    chip = topology.chip
    compute = cost.cycles / chip.clock
    attention = sum(item.cycles for item in timed) / chip.clock
    lower = sum(_wire(item, chip.link * topology.links) for item in cost.collectives)
    upper = sum(_wire(item, chip.link) * _hops(item) for item in cost.collectives)
    return {
        "compute": compute,
        "attention_kernels": attention,
        "collectives_lower": lower,
        "collectives_upper": upper,
        "total": compute + attention + upper,
    }


def _wire(item: Collective, bandwidth: float) -> float:
    return item.times * item.sent / bandwidth if bandwidth else 0.0


def _hops(item: Collective) -> float:
    """Links that a byte of an exchange of all with all passes on a ring both ways, at least 1."""
    return max(1.0, item.group / 4) if "all-to-all" in item.kind else 1.0


def by_kind(collectives: list[Collective]) -> dict[str, dict[str, int]]:
    """Runs and bytes that a chip sends, by kind."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: {"count": 0, "bytes": 0})
    for item in collectives:
        found[item.kind]["count"] += item.times
        found[item.kind]["bytes"] += item.times * item.sent
    return dict(sorted(found.items()))


def largest_buffers(module: Module, names: dict[int, str]) -> list[dict[str, Any]]:
    """The largest arrays in the chip's memory, by the operation of the source that makes them.

    `names` are those of the program's arguments. Buffers share memory when their lives do not
    meet, so their sum is no total.
    """
    found: dict[str, int] = {}
    inner = {
        item.called("calls")
        for computation in module.computations.values()
        for item in computation
        if item.opcode == "fusion"
    }
    for name, computation in module.computations.items():
        if name in inner:
            continue
        for item in computation:
            if item.opcode in ("tuple", "get-tuple-element", "bitcast", "while", "conditional"):
                continue
            if item.opcode == "parameter" and name != module.entry:
                continue
            source = item.source
            if item.opcode == "parameter":
                source = names.get(int(item.inside), source)
            size = max((shape.bytes for shape in item.shapes if shape.is_in_hbm), default=0)
            found[source] = max(found.get(source, 0), size)
    largest = sorted(found.items(), key=lambda pair: -pair[1])[:_SHOWN]
    return [{"bytes": size, "source": source} for source, size in largest]


def missing(cost: Cost, unknown: list[str]) -> list[str]:
    """What the estimate of this program leaves out, in sentences."""
    notes = []
    if cost.unknown_loops:
        notes.append(f"{cost.unknown_loops} loops of unknown length are counted once")
    if unknown:
        notes.append(f"kernels without an estimate: {', '.join(sorted(set(unknown))[:_SHOWN])}")
    if cost.without_estimate:
        named = ", ".join(f"{kind} x{n}" for kind, n in cost.without_estimate.most_common(5))
        notes.append(f"operations over 1 MiB that the compiler gives no cycles for: {named}")
    return notes
