"""Which shapes share a row: best fit over the histogram of shapes.

To a row, clips of one shape are alike. So rows are decided by counting: a pattern says how many
clips of which class lie together, and how many rows are filled that way. Ten million clips of a
thousand shapes are a thousand numbers (Krell et al. 2021, "Efficient Sequence Packing without
Cross-contamination", pack by histogram too). Which clip comes where is `data.plan`.
"""

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sora_jax.data.packing import RowSize
from sora_jax.errors import UsageError

type Grids = NDArray[np.integer]  # N 3: chunks, rows and columns of tokens; 0 0 0 is no clip

_BITS = 20  # of a number in a class key


@dataclasses.dataclass(frozen=True)
class Pattern:
    """`rows` rows, each with the same classes: pairs of (class, clips of it in a row)."""

    rows: int
    clips: tuple[tuple[int, int], ...]

    @property
    def slots(self) -> int:
        """Clips in a row."""
        return sum(count for _, count in self.clips)


@runtime_checkable
class Filler(Protocol):
    """A rule for what lies together. Clips with one key are alike to it."""

    @property
    def capacity(self) -> int:
        """Tokens of a row; 0 if that depends on what lies in it."""
        ...

    def unfit(self, grids: Grids) -> dict[str, NDArray[np.bool_]]:
        """Clips that no row takes, by reason."""
        ...

    def keys(self, grids: Grids) -> NDArray[np.int64]:
        """The class of each clip; larger clips have larger keys."""
        ...

    def fill(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> list[Pattern]:
        """Rows for `counts[i]` clips of each class `keys[i]`, every clip in one row."""
        ...


@dataclasses.dataclass(frozen=True)
class PackedRows:
    """Rows of fixed capacity that hold clips of any shapes: one program for all."""

    size: RowSize

    @property
    def capacity(self) -> int:
        return self.size.tokens

    def unfit(self, grids: Grids) -> dict[str, NDArray[np.bool_]]:
        frames, tokens = grids[:, 0], num_tokens(grids)
        return {
            "no whole chunk or patch": tokens == 0,
            f"over {self.size.tokens} tokens": tokens > self.size.tokens,
            f"over {self.size.frames} latent frames": (frames > self.size.frames)
            & (tokens <= self.size.tokens),
        }

    def keys(self, grids: Grids) -> NDArray[np.int64]:
        return (num_tokens(grids) << _BITS) | grids[:, 0].astype(np.int64)

    def fill(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> list[Pattern]:
        """Best fit, largest first: as if each clip went to the fullest row that takes it."""
        rows = _OpenRows(self.size)
        for number in np.argsort(-keys, kind="stable").tolist():
            tokens, frames = int(keys[number]) >> _BITS, int(keys[number]) & ((1 << _BITS) - 1)
            rows.add(number, tokens, frames, int(counts[number]))
        return rows.patterns()


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Groups of `clips` clips of one shape: a program for each shape, nothing to pad.

    The last group of a shape may be smaller.
    """

    clips: int

    @property
    def capacity(self) -> int:
        return 0

    def unfit(self, grids: Grids) -> dict[str, NDArray[np.bool_]]:
        return {"no whole chunk or patch": num_tokens(grids) == 0}

    def keys(self, grids: Grids) -> NDArray[np.int64]:
        frames, rows, columns = grids.astype(np.int64).T
        return (frames << 2 * _BITS) | (rows << _BITS) | columns

    def fill(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> list[Pattern]:
        patterns = []
        for number, count in enumerate(counts.tolist()):
            full, rest = divmod(count, self.clips)
            patterns += [Pattern(full, ((number, self.clips),))] if full else []
            patterns += [Pattern(1, ((number, rest),))] if rest else []
        return patterns


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Rows that are filled alike and what each still takes."""

    tokens: int
    frames: int
    slots: int
    rows: int
    clips: tuple[tuple[int, int], ...] = ()

    def takes(self, tokens: int, frames: int) -> int:
        """How many more clips of that size go into one of the rows."""
        return min(self.tokens // tokens, self.frames // frames, self.slots)

    def with_clips(self, number: int, count: int, size: tuple[int, int], rows: int) -> "_Kind":
        tokens, frames = size
        return _Kind(
            self.tokens - count * tokens,
            self.frames - count * frames,
            self.slots - count,
            rows,
            (*self.clips, (number, count)),
        )


class _OpenRows:
    """Kinds of rows, those with the least free tokens first."""

    def __init__(self, size: RowSize):
        self._empty = _Kind(size.tokens, size.frames, size.clips, 0)
        self._free: list[tuple[int, int]] = []  # free tokens, number of the kind; sorted
        self._kinds: dict[int, _Kind] = {}
        self._closed: list[_Kind] = []
        self._made = 0

    def add(self, number: int, tokens: int, frames: int, count: int) -> None:
        """Put `count` clips of class `number` where they fit best."""
        size = tokens, frames
        place = bisect.bisect_left(self._free, (tokens, 0))
        while count and place < len(self._free):
            name = self._free[place][1]
            kind = self._kinds[name]
            each = kind.takes(tokens, frames)
            if not each:
                place += 1
                continue
            del self._free[place], self._kinds[name]
            used = self._put(kind, number, size, min(count, each * kind.rows))
            count -= min(count, each * kind.rows)
            if used < kind.rows:  # then nothing is left to put
                self._open(dataclasses.replace(kind, rows=kind.rows - used))
        if count:
            self._put(self._empty, number, size, count)

    def patterns(self) -> list[Pattern]:
        kinds = [*self._closed, *self._kinds.values()]
        return [Pattern(kind.rows, kind.clips) for kind in kinds]

    def _put(self, kind: _Kind, number: int, size: tuple[int, int], count: int) -> int:
        """Put clips into rows of a kind, as many in each as it takes; how many rows that took."""
        each = kind.takes(*size)
        full, rest = divmod(count, each)
        if full:
            self._open(kind.with_clips(number, each, size, full))
        if rest:
            self._open(kind.with_clips(number, rest, size, 1))
        return full + (rest > 0)

    def _open(self, kind: _Kind) -> None:
        if not min(kind.tokens, kind.frames, kind.slots):
            self._closed.append(kind)
            return
        self._made += 1
        self._kinds[self._made] = kind
        bisect.insort(self._free, (kind.tokens, self._made))


def check_size(size: RowSize) -> None:
    """Raise UsageError for a capacity that holds nothing, or more than a key can say."""
    limits = {"tokens": size.tokens, "frames": size.frames, "clips": size.clips}
    for name, value in limits.items():
        if not 1 <= value < 1 << _BITS:
            raise UsageError(
                f"a row of {value} {name} can't be filled; use 1 to {(1 << _BITS) - 1}"
            )


def padding_share(patterns: Sequence[Pattern], tokens: NDArray[np.int64], capacity: int) -> float:
    """Share of the rows' tokens that hold nothing; `tokens` are those of a clip of each class."""
    rows = sum(pattern.rows for pattern in patterns)
    held = sum(p.rows * sum(int(tokens[c]) * k for c, k in p.clips) for p in patterns)
    return 1 - held / (rows * capacity) if capacity and rows else 0.0


def num_tokens(grids: Grids) -> NDArray[np.int64]:
    """Tokens of each clip."""
    return np.prod(grids, axis=1, dtype=np.int64)
