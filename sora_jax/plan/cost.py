"""What one run of a compiled program costs a chip: walks its calls and counts loops in full.

XLA's own analysis counts the body of a loop once. Here every computation is entered as often as it
runs, and four things are added up: matrix products, the compiler's cycles, what goes to other
chips, and calls of Pallas kernels, of whose inside the compiler says nothing.
"""

import dataclasses
import math
import re
from collections import Counter

from sora_jax.plan.hlo import Computation, Instruction, Module, Shape

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_KERNEL_TARGET = "tpu_custom_call"
_CUDNN_TARGET = "cudnn$fmha"
_STARTS = "AsyncCollectiveStart"
_WORTH_A_WORD = 2**20  # bytes: smaller results without an estimate are left alone
# Free, or waited for elsewhere: no estimate is expected of them.
_SILENT = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all partition-id replica-id iota "
    "copy-start slice-start async-start call while conditional custom-call domain opt-barrier "
    "add-dependency send recv".split()
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between chips, as often as it runs."""

    kind: str
    sent: int  # bytes that a chip sends in one run, by the shortest way
    group: int  # chips that take part
    times: int
    is_hidden: bool  # started ahead and waited for later: it may run beside other work
    source: str


@dataclasses.dataclass(frozen=True)
class KernelCall:
    """One call of a Pallas kernel, as often as it runs."""

    name: str
    operands: tuple[Shape, ...]
    times: int


@dataclasses.dataclass
class Cost:
    """Sums for one chip and one run of the program."""

    flops: int = 0
    cycles: int = 0
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    kernels: list[KernelCall] = dataclasses.field(default_factory=list)
    without_estimate: Counter = dataclasses.field(default_factory=Counter)  # opcode -> runs
    unknown_loops: int = 0  # counted once: their length can't be read

    def add(self, other: "Cost") -> None:
        """Take in the sums of a part."""
        self.flops += other.flops
        self.cycles += other.cycles
        self.collectives += other.collectives
        self.kernels += other.kernels
        self.without_estimate += other.without_estimate
        self.unknown_loops += other.unknown_loops


def cost(module: Module) -> Cost:
    """The sums of a compiled program."""
    return _visit(module, module.computations[module.entry], 1)


def _visit(module: Module, computation: Computation, times: int) -> Cost:
    total = Cost()
    for item in computation:
        if item.opcode == "while":
            trips = module.trip_count(item, computation)
            total.unknown_loops += trips is None
            body = module.computations[item.called("body") or ""]
            total.add(_visit(module, body, times * (1 if trips is None else trips)))
        elif item.opcode == "conditional":
            branches = [_visit(module, module.computations[n], times) for n in item.branches]
            total.add(max(branches, key=lambda branch: (branch.cycles, branch.flops)))
        elif item.opcode in ("call", "async-start"):
            called = item.called("to_apply") or item.called("calls")
            if called in module.computations:
                total.add(_visit(module, module.computations[called], times))
        else:
            _count(module, computation, item, times, total)
    return total


def _count(module: Module, where: Computation, item: Instruction, times: int, total: Cost) -> None:
    """One instruction that is no flow of control."""
    kind = item.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
        total.collectives.append(_collective(where, item, kind, times))
    elif item.opcode == "fusion":
        _inside(module, module.computations[item.called("calls") or ""], times, total)
    elif item.target == _KERNEL_TARGET:
        shapes = tuple(where.instructions[name].shapes[0] for name in item.operands)
        total.kernels.append(KernelCall(item.source, shapes, times))
    total.flops += times * product_flops(where, item)
    if item.cycles is not None:
        total.cycles += times * item.cycles
    elif kind not in COLLECTIVES and not _is_silent(item) and _bytes(item) >= _WORTH_A_WORD:
        total.without_estimate[item.opcode] += times


def _inside(module: Module, fused: Computation, times: int, total: Cost) -> None:
    """Products of a fusion, and the collective that it starts or is; its cycles stand outside.

    An exchange that runs beside other fusions is repeated in each of them: only its start counts.
    A sum of which each chip keeps a slice is a reduce-scatter, which TPUs have in no other form.
    """
    starts = any(item.target == _STARTS for item in fused)
    sliced = {item.operands[0] for item in fused if item.opcode == "dynamic-slice"}
    for item in fused:
        kind = item.opcode.removesuffix("-start")
        if kind in COLLECTIVES and starts:
            total.collectives.append(_collective(fused, item, kind, times, is_hidden=True))
        elif kind == "all-reduce" and item.name in sliced:
            total.collectives.append(_collective(fused, item, "reduce-scatter", times))
        if item.opcode == "fusion":
            _inside(module, module.computations[item.called("calls") or ""], times, total)
        total.flops += times * product_flops(fused, item)


def _collective(
    where: Computation, item: Instruction, kind: str, times: int, is_hidden: bool = False
) -> Collective:
    group = _group_size(item)
    bytes_in = sum(where.instructions[name].shapes[0].bytes for name in item.operands)
    sent = {
        "all-gather": bytes_in * (group - 1),
        "all-reduce": 2 * bytes_in * (group - 1) // group,
        "reduce-scatter": bytes_in * (group - 1) // group,
        "all-to-all": bytes_in * (group - 1) // group,
        "ragged-all-to-all": bytes_in * (group - 1) // group,
    }.get(kind, bytes_in)
    is_hidden = is_hidden or item.opcode.endswith("-start")
    return Collective(kind, sent, group, times, is_hidden, item.source)


def _group_size(item: Instruction) -> int:
    """Chips in a group: of replica_groups written as a range, as a list, or by axes of a mesh."""
    text = item.attributes
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] *\{([^}]*)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", found[1])}
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
        return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
    return 2  # a permutation: each sends to one other


def product_flops(where: Computation, item: Instruction) -> int:
    """Floating-point operations of a dot, a convolution or cuDNN's attention; 0 for others."""
    if _CUDNN_TARGET in item.target:
        q, k = (where.instructions[name].shapes[0].dims for name in item.operands[:2])  # B L N K
        return (10 if item.target.endswith("Backward") else 4) * math.prod(q) * k[1]
    if item.opcode not in ("dot", "convolution"):
        return 0
    left, right = (where.instructions[name].shapes[0].dims for name in item.operands[:2])
    out = item.shapes[0].dims
    if item.opcode == "dot":
        found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", item.attributes)
        axes = [int(n) for n in found[1].split(",") if n] if found else []
        return 2 * math.prod(out) * math.prod(left[axis] for axis in axes)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", item.attributes)
    assert labels, item.attributes
    taken = right[labels[2].index("i")]
    plain = out[labels[3].index("b")] * out[labels[3].index("f")]
    pairs = 1
    for number, window in enumerate(_windows(item.attributes, len(out) - 2)):
        letter = str(number)
        pairs *= _pairs(left[labels[1].index(letter)], out[labels[3].index(letter)], window)
    return 2 * plain * taken * pairs


@dataclasses.dataclass(frozen=True)
class _Window:
    size: int = 1
    stride: int = 1
    before: int = 0  # padding
    spread: int = 1  # distance of the base's elements
    step: int = 1  # distance of the window's elements


def _windows(attributes: str, count: int) -> list[_Window]:
    found = re.search(r"window=\{([^}]*)\}", attributes)
    fields = dict(part.split("=") for part in found[1].split()) if found else {}

    def values(name: str, default: int) -> list[int]:
        return (
            [int(v.split("_")[0]) for v in fields[name].split("x")]
            if name in fields
            else [default] * count
        )

    return [
        _Window(*parts)
        for parts in zip(
            values("size", 1),
            values("stride", 1),
            values("pad", 0),
            values("lhs_dilate", 1),
            values("rhs_dilate", 1),
            strict=True,
        )
    ]


def _pairs(base: int, out: int, window: _Window) -> int:
    """How often an element of the window meets one of the base, not padding or a gap."""
    if window.size == out == 1 and window.before == 0:
        return 1
    width = (base - 1) * window.spread + 1
    total = 0
    for k in range(window.size):
        places = range(k * window.step - window.before, width, window.stride)[:out]
        total += sum(1 for place in places if place >= 0 and place % window.spread == 0)
    return total


def _bytes(item: Instruction) -> int:
    return sum(shape.bytes for shape in item.shapes)


def _is_silent(item: Instruction) -> bool:
    return item.opcode.endswith(("-done", "-update")) or item.opcode in _SILENT
