"""Planned rows with their clips in them: what a training step is fed, wherever it is read.

A row is a pure function of (plan, shards, seed, its number). A clip that can't be read has another
of its class in its place, which fits just there, so no other row changes; if the whole class is
bad, the place is left as padding. How many were tried stands in the row (`tried`), and who counts
them works out from the plan which they were.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sora_jax.data.loader import Batches
from sora_jax.data.packing import Clip, RowSize, pack_row
from sora_jax.data.plan import Place, Plan
from sora_jax.data.quarantine import Account, Quarantine
from sora_jax.data.records import Sample
from sora_jax.errors import RunError, UsageError

NUM_ROWS = 2**40  # a finite "for ever"
OWN = ("row", "clip_number", "tried")  # fields that are of the loader and not of the step


@runtime_checkable
class Load[T](Protocol):
    """Reads the clip of a place. Raises ValueError for one that can't be used.

    What it draws comes from `rng`, which depends on (seed, row, slot) alone.
    """

    def __call__(self, place: Place, rng: np.random.Generator) -> T: ...


class Reader[T]:
    """Clips of the plan's rows, with stand-ins for bad ones."""

    def __init__(self, plan: Plan, load: Load[T]):
        self.plan, self._load = plan, load

    def row(self, row: int) -> tuple[list[T], Sample]:
        """The clips that a row holds, and the fields `OWN`: what was asked for, how many bad."""
        places = self.plan.row(row)
        held = [self.slot(row, slot, place) for slot, place in enumerate(places)]
        clips = [clip for clip, _ in held if clip is not None]
        return clips, self.about(row, places, [bad for _, bad in held])

    def slot(self, row: int, slot: int, place: Place) -> tuple[T | None, int]:
        """What one slot holds (None if its whole class is bad), and how many were bad before."""
        bad = 0
        for candidate in self.tried(row, slot, place):
            try:
                return self._load(candidate, self._rng(row, slot)), bad
            except ValueError:  # who counts them asks for the reason
                bad += 1
        return None, bad

    def tried(self, row: int, slot: int, place: Place) -> Iterator[Place]:
        """The clips that a slot may hold, in the order in which they are tried."""
        yield place  # the others are worked out only when they are needed
        yield from self.plan.stand_ins(row, slot)

    def reason(self, row: int, slot: int, place: Place) -> str:
        """Why a clip could not be read."""
        try:
            self._load(place, self._rng(row, slot))
        except ValueError as error:
            return str(error)
        return "it could not be read before, and now it can"

    def about(self, row: int, places: Sequence[Place], bad: Sequence[int]) -> Sample:
        """The fields `OWN` of a row."""
        numbers = np.full(self.plan.slots, -1, np.int64)
        numbers[: len(places)] = [self.plan.number(place) for place in places]
        tried = np.zeros(self.plan.slots, np.int64)
        tried[: len(bad)] = bad
        return {"row": np.int64(row), "clip_number": numbers, "tried": tried}

    def _rng(self, row: int, slot: int) -> np.random.Generator:
        """Of a slot, whichever clip is in it; the counter's high word keeps slots apart."""
        bits = np.random.Philox(key=[self.plan.seed, row], counter=[0, 0, 0, slot])
        return np.random.Generator(bits)


class PlannedRows:
    """The source of packed rows (`packing.pack_row`), by their number in the plan."""

    def __init__(
        self, reader: Reader[Clip], size: RowSize, patch: tuple[int, int, int], channels: int
    ):
        self._reader, self._size, self._patch, self._channels = reader, size, patch, channels

    def __len__(self) -> int:
        return NUM_ROWS

    def __getitem__(self, row: int) -> Sample:
        clips, about = self._reader.row(row)
        return {**pack_row(clips, self._size, self._patch, channels=self._channels), **about}


class Groups[T]:
    """The source of groups of one shape (`fill.Buckets`): this host's clips of each, in a list.

    Where a group is not full, clips of its shape fill it up, whether or not they come elsewhere.
    """

    def __init__(
        self,
        reader: Reader[T],
        clips: int,
        stack: Callable[[Sequence[T]], Sample],
        host: tuple[int, int] = (0, 1),
    ):
        index, count = host
        if clips % count:
            raise UsageError(f"batch_size {clips} must be a multiple of the {count} hosts")
        self._reader, self._clips, self._stack = reader, clips, stack
        self._own = range(index * clips // count, (index + 1) * clips // count)

    def __len__(self) -> int:
        return NUM_ROWS

    def __getitem__(self, row: int) -> Sample:
        places = self._reader.plan.row(row)
        count = len(places)
        held = {
            slot: self._reader.slot(row, slot, places[slot])
            for slot in {slot % count for slot in self._own}
        }
        for slot, (clip, _) in held.items():
            if clip is None:
                name = self._reader.plan.parts[places[slot].part]
                raise RunError(f"no clip of one of the shapes in {name} can be read; mend them")
        clips = [held[slot % count][0] for slot in self._own]
        tried = [held[slot][1] if slot in held else 0 for slot in range(count)]
        about = self._reader.about(row, places, tried)
        ids = row * self._clips + np.array(self._own)
        return {
            **self._stack([clip for clip in clips if clip is not None]),
            "sample_id": ids,
            **{name: value[None] for name, value in about.items()},
        }


class PlannedBatches:
    """The loader's batches, with an eye on what is bad and on what each epoch has had.

    `rows` is how many rows of the plan are in a global batch, of which this host's slice comes.
    The first host reports a line for each epoch that is over.
    """

    def __init__(
        self,
        batches: Batches,
        reader: Reader[Any],
        quarantine: Quarantine,
        name: Callable[[Place], str],
        *,
        rows: int,
        report: Callable[[str], None] | None = logging.info,
    ):
        self._batches, self._reader, self._name = batches, reader, name
        self._quarantine, self._rows, self._report = quarantine, rows, report
        self._account = Account(reader.plan, quarantine)
        self.seek(batches.next_batch)

    @property
    def next_batch(self) -> int:
        """The global step of the batch that `next` will give."""
        return self._batches.next_batch

    @property
    def reading_since(self) -> float | None:
        """When the oldest read under way began, by `time.monotonic()`."""
        return self._batches.reading_since

    def seek(self, step: int) -> None:
        """Go to the batch of a global step."""
        self._batches.seek(step)
        self._account.seek(step * self._rows)

    def close(self) -> None:
        """Stop reading ahead."""
        self._batches.close()

    def __next__(self) -> dict[str, NDArray]:
        batch = next(self._batches)
        self._quarantine_bad(batch["row"], batch["tried"])
        for line in self._account.take(self.next_batch * self._rows):
            if self._report is not None:
                self._report(line)
        return for_step(batch)

    def __getitem__(self, step: int) -> dict[str, NDArray]:
        return for_step(self._batches[step])

    def _quarantine_bad(self, rows: NDArray, tried: NDArray[np.integer]) -> None:
        for number, slot in zip(*np.nonzero(tried), strict=True):
            row, count = int(rows[number]), int(tried[number, slot])
            own = self._reader.plan.row(row)[slot]
            for place in itertools.islice(self._reader.tried(row, int(slot), own), count):
                self._quarantine.add(
                    self._reader.plan.parts[place.part],
                    place.clip,
                    self._name(place),
                    self._reader.reason(row, int(slot), place),
                )


def for_step(batch: Sample) -> dict[str, NDArray]:
    """A batch without the loader's own fields."""
    return {name: value for name, value in batch.items() if name not in OWN}
