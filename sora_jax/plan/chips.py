"""Chips and topologies by name, with the figures that turn a program's cost into seconds."""

import dataclasses
import math
import re

from sora_jax.errors import UsageError
from sora_jax.plan import cards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One accelerator. Figures of TPUs are per chip, all of its cores together."""

    name: str
    platform: str  # tpu | cpu | cuda
    hbm: int = 0  # bytes that a program may use; 0: not known
    peak: float = 0.0  # bfloat16 FLOP/s of the matrix units; 0: no estimate of time
    clock: float = 0.0  # cycles a second, of the compiler's estimates
    cores: int = 1
    link: float = 0.0  # bytes a second over one link in one direction
    dims: int = 0  # of the torus that chips form
    examples: str = ""
    card: cards.Card | None = None  # a GPU for its compiler

    @property
    def flops_per_cycle(self) -> float:
        """Of one core."""
        return self.peak / self.clock / self.cores


_GIB = 2**30
# Memory: what the compiler names when a program is too large. Clock: the one at which the matrix
# units give the published peak. Links: published bandwidth between chips over the links of a torus.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v5e",
            platform="tpu",
            hbm=int(15.75 * _GIB),
            clock=1.5e9,
            peak=1.5e9 * 131072,
            link=45e9,
            dims=2,
            examples="v5e:4x4",
        ),
        Chip(
            name="v5p",
            platform="tpu",
            hbm=int(95.73 * _GIB),
            clock=1.75e9,
            peak=1.75e9 * 262144,
            cores=2,
            link=90e9,
            dims=3,
            examples="v5p:4x4x4",
        ),
        Chip(
            name="v6e",
            platform="tpu",
            hbm=int(31.24 * _GIB),
            clock=1.75e9,
            peak=1.75e9 * 524288,
            link=90e9,
            dims=2,
            examples="v6e:4x4",
        ),
        Chip(name="cpu", platform="cpu", dims=1, examples="cpu:8"),
        *(
            Chip(
                name=name,
                platform="cuda",
                hbm=card.memory,
                peak=peak,
                dims=1,
                examples=f"{name}:8",
                card=card,
            )
            for name, peak, card in (
                ("a100", 312e12, cards.A100),
                ("h100", 989e12, cards.H100),
                ("b200", 2250e12, cards.B200),
            )
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips joined to one machine."""

    chip: Chip
    sides: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.chip.name}:{'x'.join(map(str, self.sides))}"

    @property
    def size(self) -> int:
        return math.prod(self.sides)

    @property
    def links(self) -> int:
        """Links over which a chip can send at once: two a dim, one where the dim is 2 chips."""
        return sum(min(side - 1, 2) for side in self.sides)


def parse(text: str) -> Topology:
    """`v5p:4x4x4` -> Topology. Raises UsageError with what there is."""
    known = ", ".join(chip.examples for chip in CHIPS.values())
    found = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", text)
    chip = CHIPS.get(found[1]) if found else None
    if found is None or chip is None:
        raise UsageError(f"topology {text!r} is not known; the kinds are {known}")
    sides = tuple(int(side) for side in found[2].split("x"))
    if len(sides) != chip.dims or 0 in sides:
        raise UsageError(
            f"topology {text!r} must have {chip.dims} sides of at least 1, as in {chip.examples}"
        )
    return Topology(chip, sides)
