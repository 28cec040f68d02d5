"""The global plan: which clips lie in which row, for every row of an endless training.

It is made from shapes alone; no clip is opened. Row `r` is a pure function of (shapes, filler,
seed, r), so the position in the data is one integer, and processes and workers that each work out
their own rows agree. An epoch holds every clip once (of a part that is repeated: at least once).

The shape of a clip may take turns over `phases` epochs (`data.views`). The histogram of a phase
does not change, so neither does its number of rows: where an epoch begins is arithmetic, and no
epoch but that of the row asked for is worked out.
"""

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import fill
from sora_jax.data.fill import Filler, Grids, Pattern
from sora_jax.errors import LimitError, UsageError

MAX_CLIPS = 2**28  # of an epoch, repeats counted: 2 GB of plan


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Clips that are mixed in as one: their token grids, in each of the phases."""

    name: str
    grids: Sequence[Grids]
    share: float = 0.0
    """Of all tokens. The part that this asks for least gives each clip once an epoch, others give
    theirs more often. 0, for all parts alike: every clip once."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A clip in a row: number of its part, of the clip in it, and of the phase its shape is of."""

    part: int
    clip: int
    phase: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """The patterns of a phase as arrays, to find the clips of many rows at once."""

    begins: NDArray[np.integer]
    """G + 1: the first row of each pattern, and where the last one ends."""
    first: NDArray[np.integer]
    """G S: of a pattern's first row, the place of each clip in the order by class; -1 for none."""
    stride: NDArray[np.integer]
    """G S: how much further that is in the next row."""
    class_ends: NDArray[np.integer]
    """Clips up to and with each class, repeats counted."""
    padding: float

    @property
    def rows(self) -> int:
        return int(self.begins[-1])

    def places(self, rows: NDArray[np.integer]) -> NDArray[np.integer]:
        """R S: places in the order by class; -1 for none."""
        group = np.searchsorted(self.begins, rows, side="right") - 1
        number = rows - self.begins[group]
        first = self.first[group]
        return np.where(first < 0, -1, first + number[:, None] * self.stride[group])


@dataclasses.dataclass(frozen=True, eq=False)
class _Epoch:
    order: NDArray[np.integer]  # clips by class, at random within
    rows: NDArray[np.integer]  # the layout's rows, in the order in which they come


class Plan:
    """Rows of clips for ever; see the module. Safe to share between threads and to pickle."""

    def __init__(self, parts: Sequence[Part], filler: Filler, *, seed: int):
        """Raises UsageError for parts that no row can hold or whose shares make no sense."""
        _check(parts)
        self.parts, self.seed = tuple(part.name for part in parts), seed
        self.sizes = tuple(len(part.grids[0]) for part in parts)
        self.phases = max(len(part.grids) for part in parts)
        self.filtered = tuple(_filtered(part, filler) for part in parts)
        self._offsets = np.cumsum([0, *self.sizes])
        unfit = [
            _any(reasons, size) for reasons, size in zip(self.filtered, self.sizes, strict=True)
        ]
        empty = [part.name for part, bad in zip(parts, unfit, strict=True) if bad.all()]
        if empty:
            raise UsageError(
                f"no clip of {', '.join(empty)} fits a row; use larger rows or smaller clips"
            )
        self.repeats = _repeats(parts, unfit)
        self._labels, self._layouts = [], []
        for phase in range(self.phases):
            labels, layout = self._lay_out(parts, filler, unfit, phase)
            self._labels.append(labels)
            self._layouts.append(layout)
        self.slots = max(layout.first.shape[1] for layout in self._layouts)
        self._layouts = [_widened(layout, self.slots) for layout in self._layouts]
        self._starts = np.cumsum([0, *(layout.rows for layout in self._layouts)])
        self._epochs: dict[int, _Epoch] = {}
        self._lock = threading.Lock()

    @property
    def padding_share(self) -> float:
        """Share of all rows' tokens that hold nothing."""
        rows = [layout.rows for layout in self._layouts]
        padding = [layout.padding for layout in self._layouts]
        return float(np.average(padding, weights=rows))

    def usable(self, part: int) -> int:
        """Clips of a part that rows take."""
        return self.sizes[part] - sum(int(bad.sum()) for bad in self.filtered[part].values())

    def epoch_start(self, epoch: int) -> int:
        """The first row of an epoch."""
        cycles, phase = divmod(epoch, self.phases)
        return int(cycles * self._starts[-1] + self._starts[phase])

    def epoch_of(self, row: int) -> int:
        """The epoch that a row belongs to."""
        cycles, within = divmod(row, int(self._starts[-1]))
        phase = int(np.searchsorted(self._starts, within, side="right")) - 1
        return cycles * self.phases + phase

    def numbers(self, start: int, stop: int) -> NDArray[np.integer]:
        """R S: the clips of rows `start` to `stop`, numbered through all parts; -1 for none."""
        found = []
        while start < stop:
            epoch = self.epoch_of(start)
            begin = self.epoch_start(epoch)
            end = min(stop, self.epoch_start(epoch + 1))
            places = self._places(epoch, start - begin, end - begin)
            found.append(np.where(places < 0, -1, self._epoch(epoch).order[places]))
            start = end
        return np.concatenate(found) if found else np.zeros((0, self.slots), np.int64)

    def row(self, row: int) -> list[Place]:
        """The clips of one row."""
        phase = self.epoch_of(row) % self.phases
        return [self.place(int(n), phase) for n in self.numbers(row, row + 1)[0] if n >= 0]

    def stand_ins(self, row: int, slot: int) -> Iterator[Place]:
        """Clips of the same class as the one in a slot, in a fixed order: each fits its place."""
        epoch = self.epoch_of(row)
        layout = self._layouts[epoch % self.phases]
        within = row - self.epoch_start(epoch)
        place = int(self._places(epoch, within, within + 1)[0, slot])
        order = self._epoch(epoch).order
        number = int(np.searchsorted(layout.class_ends, place, side="right"))
        begin = int(layout.class_ends[number - 1]) if number else 0
        count = int(layout.class_ends[number]) - begin
        seen = {int(order[place])}
        for step in range(1, count):
            clip = int(order[begin + (place - begin + step) % count])
            if clip not in seen:  # a part that is repeated has its clips there several times
                seen.add(clip)
                yield self.place(clip, epoch % self.phases)

    def number(self, place: Place) -> int:
        """The number of a clip that counts through all parts."""
        return int(self._offsets[place.part]) + place.clip

    def place(self, number: int, phase: int) -> Place:
        """Part and clip of a number that counts through all parts."""
        part = int(np.searchsorted(self._offsets, number, side="right")) - 1
        return Place(part, number - int(self._offsets[part]), phase)

    def __getstate__(self) -> dict:
        """Without what can be worked out again."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_epochs", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._epochs, self._lock = {}, threading.Lock()

    def _lay_out(self, parts, filler: Filler, unfit, phase: int) -> tuple[NDArray, _Layout]:
        """The class of each clip (-1: filtered) and the patterns of a phase."""
        keys = []
        for part, bad in zip(parts, unfit, strict=True):
            found = filler.keys(part.grids[phase % len(part.grids)])
            keys.append(np.where(bad, -1, found))
        classes, labels = np.unique(np.concatenate(keys), return_inverse=True)
        if classes[0] < 0:
            classes, labels = classes[1:], labels - 1
        labels = labels.astype(np.int16 if len(classes) < 2**15 else np.int32)
        counts = np.zeros(len(classes), np.int64)
        for part, repeat in enumerate(self.repeats):
            counts += _quota(self._of(part, labels), repeat, len(classes))
        tokens = np.zeros(len(classes), np.int64)
        for part_number, part in enumerate(parts):
            own = self._of(part_number, labels)
            tokens[own[own >= 0]] = fill.num_tokens(part.grids[phase % len(part.grids)])[own >= 0]
        patterns = filler.fill(classes, counts)
        padding = fill.padding_share(patterns, tokens, filler.capacity)
        return labels, _layout(patterns, counts, padding)

    def _of(self, part: int, labels: NDArray) -> NDArray:
        return labels[self._offsets[part] : self._offsets[part + 1]]

    def _places(self, epoch: int, start: int, stop: int) -> NDArray[np.integer]:
        layout = self._layouts[epoch % self.phases]
        return layout.places(self._epoch(epoch).rows[start:stop])

    def _epoch(self, epoch: int) -> _Epoch:
        """The order of an epoch; the two used last are kept."""
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = self._draw(epoch)
                while len(self._epochs) > 2:
                    del self._epochs[next(iter(self._epochs))]
            return self._epochs[epoch]

    def _draw(self, epoch: int) -> _Epoch:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        labels = self._labels[epoch % self.phases]
        dtype = np.dtype(np.int32 if self._offsets[-1] < 2**31 else np.int64)
        entries = []
        for part, repeat in enumerate(self.repeats):
            own = self._of(part, labels)
            usable = np.flatnonzero(own >= 0).astype(dtype)
            entries += [usable + dtype.type(self._offsets[part])] * math.floor(repeat)
            if repeat > math.floor(repeat):
                more = _more(own, rng.permutation(usable), repeat)
                entries.append(more + dtype.type(self._offsets[part]))
        mixed = rng.permutation(np.concatenate(entries))
        order = mixed[np.argsort(labels[mixed], kind="stable")]
        rows = rng.permutation(self._layouts[epoch % self.phases].rows)
        return _Epoch(order, rows)


def _layout(patterns: Sequence[Pattern], counts: NDArray[np.integer], padding: float) -> _Layout:
    slots = max(pattern.slots for pattern in patterns)
    first = np.full((len(patterns), slots), -1, np.int64)
    stride = np.zeros((len(patterns), slots), np.int64)
    class_ends = np.cumsum(counts)
    used = class_ends - counts  # where the next clip of each class is
    for number, pattern in enumerate(patterns):
        slot = 0
        for name, count in pattern.clips:
            here = slice(slot, slot + count)
            first[number, here] = used[name] + np.arange(count)
            stride[number, here] = count
            used[name] += count * pattern.rows
            slot += count
    assert np.array_equal(used, class_ends), "the filler left clips out"
    begins = np.cumsum([0, *(pattern.rows for pattern in patterns)])
    return _Layout(begins, first, stride, class_ends, padding)


def _widened(layout: _Layout, slots: int) -> _Layout:
    """With as many slots as the widest phase has."""
    more = ((0, 0), (0, slots - layout.first.shape[1]))
    first = np.pad(layout.first, more, constant_values=-1)
    return dataclasses.replace(layout, first=first, stride=np.pad(layout.stride, more))


def _quota(labels: NDArray, repeat: float, classes: int) -> NDArray[np.integer]:
    """Clips of each class in an epoch: the same in every epoch of a phase."""
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    whole = math.floor(repeat)
    return counts * whole + np.round(counts * (repeat - whole)).astype(np.int64)


def _more(labels: NDArray, shuffled: NDArray, repeat: float) -> NDArray:
    """The clips that come once more than the others: of each class its quota, the first ones."""
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    own = labels[by_class]
    counts = np.bincount(own)
    rank = np.arange(len(own)) - (np.cumsum(counts) - counts)[own]
    wanted = np.round(counts * (repeat - math.floor(repeat))).astype(np.int64)
    return by_class[rank < wanted[own]]


def _repeats(parts: Sequence[Part], unfit: Sequence[NDArray[np.bool_]]) -> tuple[float, ...]:
    """How often each part gives each of its clips in an epoch."""
    if not any(part.share for part in parts):
        return (1.0,) * len(parts)
    tokens = [
        np.mean([fill.num_tokens(grids)[~bad].sum() for grids in part.grids])
        for part, bad in zip(parts, unfit, strict=True)
    ]
    wanted = [part.share / total for part, total in zip(parts, tokens, strict=True)]
    repeats = tuple(float(want / min(wanted)) for want in wanted)
    clips = sum(r * (~bad).sum() for r, bad in zip(repeats, unfit, strict=True))
    if clips > MAX_CLIPS:
        most = parts[int(np.argmax(repeats))]
        raise LimitError(
            f"an epoch has {clips:.3g} clips, over {MAX_CLIPS}: {most.name} has too few for a "
            f"share of {most.share}; lower it or give it more clips"
        )
    return repeats


def _filtered(part: Part, filler: Filler) -> dict[str, NDArray[np.bool_]]:
    """Clips that a row can't take in one of the phases, by their first reason."""
    found: dict[str, NDArray[np.bool_]] = {}
    before = np.zeros(len(part.grids[0]), bool)
    for grids in part.grids:
        for reason, bad in filler.unfit(np.asarray(grids)).items():
            new = bad & ~before
            before = before | new
            if new.any():
                found[reason] = found[reason] | new if reason in found else new
    return found


def _any(reasons: dict[str, NDArray[np.bool_]], size: int) -> NDArray[np.bool_]:
    return np.logical_or.reduce([np.zeros(size, bool), *reasons.values()])


def _check(parts: Sequence[Part]) -> None:
    if not parts or not all(len(part.grids[0]) for part in parts):
        raise UsageError("a part of the data has no clip; leave it out or fill it")
    shares = {part.name: part.share for part in parts}
    if min(shares.values()) < 0 or (max(shares.values()) and not min(shares.values())):
        raise UsageError(f"shares are {shares}; give each part more than 0, or all of them 0")
    lengths = {len(part.grids) for part in parts} - {1}
    if len(lengths) > 1:
        raise UsageError(f"parts have {sorted(lengths)} views; give them one number of views")
