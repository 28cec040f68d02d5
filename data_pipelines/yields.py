"""Yields: what went into each stage, what came out, and for what reasons the rest did not."""

import dataclasses
from collections.abc import Sequence

from data_pipelines.records import ClipRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageYield:
    """One line of the yield table. `seconds` are of work, over all processes.

    `into` and `out` count records that were not rejected; `megabytes` are of the source files that
    those in the stage come from.
    """

    name: str
    into: int
    out: int
    rejected: dict[str, int]
    seconds: float
    megabytes: float

    @property
    def share(self) -> float:
        """Records that came out for each that was worked on, without those that were split."""
        turned_down = sum(self.rejected.values())
        return self.out / (self.out + turned_down) if self.out + turned_down else 0.0

    def __str__(self) -> str:
        """One line for people."""
        reasons = ", ".join(f"{name} {number}" for name, number in self.rejected.items())
        speed = f", {self.megabytes / self.seconds:.1f} MB/s" if self.seconds >= 0.5 else ""
        tail = f" ({reasons})" if reasons else ""
        return (
            f"{self.name}: {self.into} in, {self.out} out, {self.share:.0%}{tail},"
            f" {self.seconds:.1f} s{speed}"
        )


def count(
    name: str, before: Sequence[ClipRecord], after: Sequence[ClipRecord], seconds: float
) -> StageYield:
    """The yield of a stage from the records before and after it."""
    old = sum(record.is_rejected for record in before)
    reasons: dict[str, int] = {}
    for record in after:
        if record.is_rejected and record.decision is not None:
            reason = record.decision.reasons[0][0]
            reasons[reason] = reasons.get(reason, 0) + 1
    for record in before:
        if record.is_rejected and record.decision is not None:
            reasons[record.decision.reasons[0][0]] -= 1
    worked = {r.source_sha256 or r.path: r for r in before if not r.is_rejected}
    sizes = [record.probe.num_bytes for record in worked.values() if record.probe is not None]
    if not sizes:  # before `ingest` nothing is known: what it found counts for it
        sizes = [record.probe.num_bytes for record in after if record.probe is not None]
    return StageYield(
        name=name,
        into=len(before) - old,
        out=sum(not record.is_rejected for record in after),
        rejected={reason: number for reason, number in sorted(reasons.items()) if number},
        seconds=round(seconds, 3),
        megabytes=round(sum(sizes) / 1e6, 3),
    )


def table(yields: Sequence[StageYield]) -> str:
    """The yield table as text."""
    lines = [f"{'stage':12}{'in':>7}{'out':>7}{'share':>7}{'seconds':>10}{'MB/s':>8}  rejected"]
    for line in yields:
        speed = f"{line.megabytes / line.seconds:.1f}" if line.seconds >= 0.5 else "-"
        reasons = ", ".join(f"{name} {number}" for name, number in line.rejected.items())
        lines.append(
            f"{line.name:12}{line.into:7}{line.out:7}{line.share:7.0%}{line.seconds:10.1f}"
            f"{speed:>8}  {reasons}"
        )
    return "\n".join(lines)
