"""`dedup`: find clips that show the same, by perceptual hashes and a banded index.

A clip has three hashes of 64 bits. Cut into bands, two clips that differ in fewer bits than there
are bands agree in at least one band, so only clips that share a band are compared: no pair within
the limit is missed and not all pairs are looked at.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from data_pipelines.records import ClipRecord
from sora_jax import media

FRAMES = 3
BITS = 64 * FRAMES
BANDS = 12  # of 16 bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """Clips are duplicates when their hashes differ in at most `max_bits` of 192 bits."""

    max_bits: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.max_bits < BANDS:
            raise ValueError(
                f"max_bits {self.max_bits} must be in 0..{BANDS - 1}, or pairs are missed"
            )


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The stage that hashes: three frames, in the middle of each third of the clip."""

    directory: str = dataclasses.field(repr=False)
    name: str = "fingerprint"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        assert record.media is not None
        frames, _ = media.read_video(Path(self.directory) / record.media.path)
        picks = ((np.arange(FRAMES) + 0.5) / FRAMES * len(frames)).astype(int)
        return [record.replace(hashes=tuple(f"{phash(frames[i]):016x}" for i in picks))]


def phash(frame: NDArray[np.uint8]) -> int:
    """64 bits that stay much the same when a picture is resized, recoded or lightened.

    Signs of the 8 x 8 lowest frequencies against their median (the pHash of the imagehash library).
    """
    grey = cv2.resize(
        cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA
    )
    low = fft.dctn(grey.astype(np.float64))[:8, :8]
    bits = (low > np.median(low)).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


@dataclasses.dataclass(frozen=True, order=True)
class Candidate:
    """A clip among those that may be duplicates. The smallest is the one to keep.

    Larger pictures come first, then longer clips, then names, so the order is the same everywhere.
    """

    pixels: int  # negative
    frames: int  # negative
    source: str
    start: float
    id: str
    hash: int = dataclasses.field(compare=False)


def candidate(record: ClipRecord) -> Candidate | None:
    """The record as a candidate, or None if it has been rejected before."""
    if record.is_rejected or record.media is None:
        return None
    return Candidate(
        -record.media.height * record.media.width,
        -record.media.num_frames,
        record.source,
        (record.span or (0.0, 0.0))[0],
        record.id,
        int("".join(record.hashes), 16),
    )


def bands(found: Candidate) -> Iterator[tuple[int, int]]:
    """The keys of the index under which a clip stands: band and its bits."""
    width = BITS // BANDS
    for band in range(BANDS):
        yield band, (found.hash >> (band * width)) & ((1 << width) - 1)


def losers(group: Iterable[Candidate], max_bits: int) -> Iterator[tuple[str, Candidate]]:
    """Pairs (id of a clip, better clip that it repeats) among clips that share a band."""
    best: dict[int, Candidate] = {}  # equal hashes are met at once, however many there are
    for found in sorted(group):
        if found.hash in best:
            yield found.id, best[found.hash]
            continue
        for other in best.values():
            if (other.hash ^ found.hash).bit_count() <= max_bits:
                yield found.id, other
                break
        best[found.hash] = found


def mark(record: ClipRecord, better: Candidate | None) -> ClipRecord:
    """The record, with the clip that it repeats if there is one."""
    return record if better is None else record.replace(duplicate_of=better.id)


def mark_duplicates(records: list[ClipRecord], config: DedupConfig) -> list[ClipRecord]:
    """All records, those marked that repeat a better one (`duplicate_of`).

    Every clip that has a better one within `max_bits` is marked, whatever becomes of that one: the
    outcome depends on pairs alone, so it is the same however the clips are spread over machines.
    """
    index: dict[tuple[int, int], list[Candidate]] = {}
    for found in filter(None, map(candidate, records)):
        for key in bands(found):
            index.setdefault(key, []).append(found)
    better: dict[str, Candidate] = {}
    for group in index.values():
        for loser, winner in losers(group, config.max_bits):
            better[loser] = min(winner, better.get(loser, winner))
    return [mark(record, better.get(record.id)) for record in records]


def distinct_files(records: list[ClipRecord]) -> list[ClipRecord]:
    """All records of files, those rejected that have the bytes of another (the first by name)."""
    first: dict[str, str] = {}
    for record in sorted(records, key=lambda record: record.source):
        if not record.is_rejected:
            first.setdefault(record.source_sha256, record.source)
    return [
        record if record.is_rejected else same_file(record, first[record.source_sha256])
        for record in records
    ]


def same_file(record: ClipRecord, first: str) -> ClipRecord:
    """The record, rejected unless its file is the first of those with its bytes."""
    if record.source == first:
        return record
    return record.reject("same_file", f"it has the bytes of {first}; keep one of both")
