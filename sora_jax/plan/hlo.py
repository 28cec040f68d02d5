"""Reads the text of an optimized XLA program: computations, instructions, shapes, loop lengths."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4,
    "s64": 8, "u64": 8, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
_UNKNOWN_CYCLES = 2**63 - 1
_HEADER = re.compile(r"^(ENTRY )?%?([\w.<>-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.<>-]+) = (.*)$")
_COMMENT = re.compile(r"/\*.*?\*/")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_COPIES = ("copy", "bitcast", "convert", "copy-done", "copy-start")


@dataclasses.dataclass(frozen=True)
class Shape:
    """One array: its element type, its dims, and where it lies."""

    dtype: str
    dims: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        return math.ceil(math.prod(self.dims) * _BYTES.get(self.dtype, 1))

    @property
    def is_in_hbm(self) -> bool:
        """Whether it lies in the chip's main memory; S(1) is vector memory, S(5) the host's."""
        return "S(" not in self.layout


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]  # several for a tuple
    operands: tuple[str, ...]
    inside: str  # what stands between the parentheses, such as a constant's value
    attributes: str
    is_root: bool

    @functools.cached_property
    def source(self) -> str:
        """The operation's name in the traced program."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else self.name

    @functools.cached_property
    def cycles(self) -> int | None:
        """The compiler's estimate; None where it gives none or does not know."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(found[1]) if found and int(found[1]) != _UNKNOWN_CYCLES else None

    def called(self, role: str) -> str | None:
        """The computation that stands after `role=`: calls, body, condition, to_apply."""
        found = re.search(rf"\b{role}=%?([\w.<>-]+)", self.attributes)
        return found[1] if found else None

    @property
    def branches(self) -> list[str]:
        """The computations of a conditional."""
        found = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        if found:
            return [name.strip().lstrip("%") for name in found[1].split(",")]
        names = (self.called("true_computation"), self.called("false_computation"))
        return [name for name in names if name]

    @property
    def target(self) -> str:
        """The target of a custom call."""
        found = re.search(r'custom_call_target="([^"]*)"', self.attributes)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Computation:
    name: str
    instructions: dict[str, Instruction]

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())

    @property
    def root(self) -> Instruction:
        return next(i for i in self if i.is_root)


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program."""

    computations: dict[str, Computation]
    entry: str

    def trip_count(self, loop: Instruction, where: Computation) -> int | None:
        """How often the body of a `while` in `where` runs; None if that can't be read off.

        A loop counts one number of its state up by a constant, and goes on while that is below
        another: both stand in its condition and its body.
        """
        condition = self.computations[loop.called("condition") or ""]
        compare, ends, _ = self._unfused(condition.root, condition)
        if compare.opcode != "compare" or "direction=LT" not in compare.attributes:
            return None
        counter = _index(ends[0])
        if counter is None:
            return None
        state = where.instructions[loop.operands[0]]
        step = self._step(self.computations[loop.called("body") or ""], counter)
        start = _fixed(_element(where, state, counter), where)
        stop = _fixed(ends[1], condition)
        if stop is None and (bound := _index(ends[1])) is not None:
            stop = _fixed(_element(where, state, bound), where)
        if start is None or stop is None or not step:
            return None
        return max(0, -(-(stop - start) // step))

    def _step(self, body: Computation, counter: int) -> int | None:
        """By how much the body counts up."""
        new = _element(body, body.root, counter)
        while new is not None and new.opcode in _COPIES:
            new = body.instructions[new.operands[0]]
        if new is None:
            return None
        add, parts, scope = self._unfused(new, body)
        if add.opcode != "add":
            return None
        fixed = [_fixed(part, scope if part.name in scope.instructions else body) for part in parts]
        return next((part for part in fixed if part is not None), None)

    def _unfused(
        self, item: Instruction, where: Computation
    ) -> tuple[Instruction, list[Instruction], Computation]:
        """(operation, its operands, its computation), looking into a fusion and out of it again."""
        if item.opcode != "fusion":
            return item, [where.instructions[name] for name in item.operands], where
        scope = self.computations[item.called("calls") or ""]
        operands = [scope.instructions[name] for name in scope.root.operands]
        outer = [
            where.instructions[item.operands[int(operand.inside)]]
            if operand.opcode == "parameter"
            else operand
            for operand in operands
        ]
        return scope.root, outer, scope


def _fixed(value: Instruction | None, where: Computation) -> int | None:
    """The integer that a value always has."""
    while value is not None and value.opcode in _COPIES:
        value = where.instructions[value.operands[0]]
    if value is None or value.opcode != "constant" or not re.fullmatch(r"-?\d+", value.inside):
        return None
    return int(value.inside)


def _index(value: Instruction) -> int | None:
    """Which element of a tuple a value is."""
    found = re.search(r"\bindex=(\d+)", value.attributes)
    return int(found[1]) if value.opcode == "get-tuple-element" and found else None


def _element(where: Computation, state: Instruction, number: int) -> Instruction | None:
    return where.instructions[state.operands[number]] if state.opcode == "tuple" else None


def parse(text: str) -> Module:
    """The module of `compiled.as_text()`. Raises ValueError for text that is none."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = Computation(header[2], {})
            computations[header[2]] = current
            entry = header[2] if header[1] else entry
        elif line == "}":
            current = None
        elif current is not None:
            found = _INSTRUCTION.match(line)
            if found:
                instruction = _instruction(found[2], found[3], bool(found[1]))
                current.instructions[found[2]] = instruction
    if not entry:
        raise ValueError("this is not the text of a compiled program: it has no ENTRY")
    return Module(computations, entry)


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    text = _COMMENT.sub("", text)
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shapes = tuple(
        Shape(kind, tuple(int(n) for n in dims.split(",") if n), layout or "")
        for kind, dims, layout in _ARRAY.findall(text[:end])
    )
    rest = text[end:].strip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    inside = rest[opening + 1 : closing]
    return Instruction(
        name=name,
        opcode=rest[:opening],
        shapes=shapes,
        operands=tuple(re.findall(r"%([\w.<>-]+)", inside)),
        inside=inside,
        attributes=rest[closing + 1 :],
        is_root=is_root,
    )


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"no closing parenthesis in {text[start : start + 80]!r}")
