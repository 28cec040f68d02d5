"""The local runner: every step on this machine, in a few processes, on from where it was stopped.

    OUT/shards/        what training reads
    OUT/clips.jsonl    every record, kept and rejected, with scores and reasons
    OUT/report.json    yields of each stage; OUT/report.html shows them
    OUT/work/          journals, cut clips, answers of caption endpoints; may be deleted in the end

Each stage notes what became of a record as soon as it is done. A run that is killed and started
again goes on there and ends in the same bytes.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from data_pipelines import pipeline, records, workers
from data_pipelines.journal import Entry, Journal
from data_pipelines.kept import write_kept
from data_pipelines.pipeline import PipelineConfig, Whole
from data_pipelines.records import ClipRecord, Stage
from data_pipelines.workers import Crew
from data_pipelines.yields import StageYield, count
from sora_jax import files
from sora_jax.errors import UsageError

type Progress = Callable[[str], None]

CLIPS = "clips.jsonl"
TELL_EVERY = 2.0  # seconds
WAITING = 8  # requests for captions at a time
# Captions come from files that a person may correct, and decisions cost nothing: done anew.
_UNNOTED = ("decide", "caption")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All records of a run at its end, and what each stage let through."""

    records: list[ClipRecord]
    yields: list[StageYield]
    splits: dict[str, int]
    seconds: float


def run(
    sources: Sequence[str | Path],
    out: str | Path,
    config: PipelineConfig,
    *,
    processes: int = 2,
    key: str = "",
    progress: Progress | None = None,
) -> Outcome:
    """Take all media files of `sources` through the pipeline into OUT/shards.

    Raises UsageError for sources that are none, RunError when the disk is full or a caption
    endpoint fails for good. Bad files are rejected records, and no error. If no clip is kept no
    shards are written, and `splits` is empty.
    """
    started = time.monotonic()
    work = Path(out) / "work"
    with files.disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    found = pipeline.seeds(sources)
    yields = []
    with workers.Crew(processes) as crew:
        for step in pipeline.steps(config, work, key):
            before = found
            began = time.monotonic()
            if isinstance(step, Whole):
                found, seconds = step.function(found), time.monotonic() - began
            else:
                found, seconds = _run_stage(step, found, work, crew, progress)
            yields.append(count(step.name, before, found, seconds))
            if progress is not None:
                progress(str(yields[-1]))
    return finish(found, yields, out, config, started)


def finish(
    found: list[ClipRecord],
    yields: list[StageYield],
    out: str | Path,
    config: PipelineConfig,
    started: float,
) -> Outcome:
    """Write the table of clips and the shards: where every runner ends."""
    out = Path(out)
    found = sorted(found, key=lambda record: (record.source, record.span or (0.0, 0.0), record.id))
    lines = [records.to_json(record.replace(path="")) for record in found]
    files.write_text(out / CLIPS, "\n".join(lines) + "\n")
    settings = dataclasses.asdict(config)
    began = time.monotonic()
    kept = [record for record in found if not record.is_rejected]
    splits = {}
    if kept:
        splits = write_kept(
            out / "shards",
            kept,
            out / "work",
            heldout_share=config.heldout_share,
            fingerprint=records.content_id(settings, lines),
            settings=settings,
        )
    yields = [*yields, count("write", kept, kept, time.monotonic() - began)]
    return Outcome(found, yields, splits, time.monotonic() - started)


def read_clips(out: str | Path) -> list[ClipRecord]:
    """The records that a run wrote, without the paths of their sources."""
    path = Path(out) / CLIPS
    try:
        return [records.from_json(line) for line in path.read_text().splitlines()]
    except FileNotFoundError as error:
        raise UsageError(f"no {CLIPS} in {out}; name the folder of a run") from error


def _run_stage(
    stage: Stage, found: list[ClipRecord], work: Path, crew: Crew, progress: Progress | None
) -> tuple[list[ClipRecord], float]:
    """What a stage makes of all records, in their order, and the seconds of work that it took."""
    assert len({record.id for record in found}) == len(found), stage.name
    done: dict[str, Entry] = {r.id: Entry([r], 0.0) for r in found if r.is_rejected}
    with contextlib.closing(Journal(work / f"{stage.name}.jsonl", stage)) as journal:
        if stage.name not in _UNNOTED:
            done |= {r.id: e for r in found if r.id not in done and (e := journal.find(r))}
        fresh = [record for record in found if record.id not in done]
        teller = _Teller(stage.name, fresh, progress)
        for record, entry in _apply(stage, fresh, crew):
            if stage.name not in _UNNOTED:
                journal.add(record, entry)
            done[record.id] = entry
            teller.tell(record, entry)
    entries = [done[record.id] for record in found]
    return [record for entry in entries for record in entry.out], sum(e.seconds for e in entries)


def _apply(stage: Stage, fresh: list[ClipRecord], crew: Crew) -> Iterator[tuple[ClipRecord, Entry]]:
    if stage.name == "decide":  # not worth a process
        return ((record, workers.timed_apply(stage, record)) for record in fresh)
    if stage.name == "caption":  # waits for files or a server, whose limit of requests is one
        return workers.apply_threads(stage, fresh, WAITING)
    # The largest first, so that no process is left with it at the end.
    return crew.apply_all(stage, sorted(fresh, key=_work, reverse=True))


def _work(record: ClipRecord) -> float:
    """Something that grows with the time a record takes."""
    if record.span is not None:
        return record.span[1] - record.span[0]
    return float(record.probe.num_bytes) if record.probe is not None else 1.0


class _Teller:
    """Says from time to time how far a stage is, what it lets through and when it ends."""

    def __init__(self, name: str, fresh: list[ClipRecord], progress: Progress | None):
        self._name, self._progress = name, progress
        self._total, self._work = len(fresh), sum(map(_work, fresh)) or 1.0
        self._done, self._share = 0, 0.0
        self._out = self._rejected = 0
        self._started = self._told = time.monotonic()
        if progress is not None and fresh:
            progress(f"{name}: {len(fresh)} records")

    def tell(self, record: ClipRecord, entry: Entry) -> None:
        self._done += 1
        self._share += _work(record) / self._work
        self._out += len(entry.out)
        self._rejected += sum(found.is_rejected for found in entry.out)
        now = time.monotonic()
        if self._progress is None or now - self._told < TELL_EVERY:
            return
        self._told = now
        left = (now - self._started) * (1 / max(self._share, 1e-6) - 1)
        self._progress(
            f"{self._name}: {self._done} of {self._total} records, {self._out} out,"
            f" {self._rejected} rejected, {left / 60:.1f} min left"
        )
