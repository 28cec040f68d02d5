"""`make data-film`: a whole film and eight other clips, from the package index to shards.

Writes runs/data_film/report.json: minutes from files to shards, the cuts of the film against a list
made by hand, yields, and the figures of `benchmarks.data_online`. The clips are made afresh each
time; pipeline/report.html shows them.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines import local, real_clips, report, yields
from data_pipelines.pipeline import PipelineConfig
from data_pipelines.records import ClipRecord
from data_pipelines.stages.clip import ClipConfig
from sora_jax import files, media
from sora_jax.errors import LimitError, RunError, UsageError

RUN = Path("runs/data_film")
CUTS = Path(__file__).with_name("big_buck_bunny_cuts.txt")
SECONDS = 180.0  # of the film that the list covers
FPS = 24.0
TOLERANCE = 2  # frames
MAX_MINUTES = 12.0
CONFIG = PipelineConfig(clip=ClipConfig(short_side=128))


class Change(NamedTuple):
    """A change of shot over the frames [first, last]; both are equal at a hard cut."""

    kind: str
    first: int
    last: int


def main() -> int:
    """Run all, write the report and say where a bar is missed; the exit code."""
    try:
        figures, missed = run()
    except (UsageError, LimitError, RunError) as error:
        print(f"data_film: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(figures, indent=1))
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    print(f"{RUN / 'report.json'} and {RUN / 'pipeline' / 'report.html'} are written")
    return RunError.exit_code if missed else 0


def run() -> tuple[dict[str, Any], list[str]]:
    """The figures of report.json, which is written, and what of the clips is not as it must be."""
    from benchmarks import data_online

    samples, out = RUN / "samples", RUN / "pipeline"
    problems = real_clips.fetch(samples, _tell)
    shutil.rmtree(out, ignore_errors=True)
    outcome = local.run([samples], out, CONFIG, processes=os.cpu_count() or 1, progress=_tell)
    _tell(yields.table(outcome.yields))
    made = report.write(outcome, out, CONFIG)
    recall, precision = score(found_changes(outcome.records, "bbb.mp4"), read_changes(CUTS))
    figures = {
        "minutes": made["minutes"],
        "cuts_recall": recall,
        "cuts_precision": precision,
        "clips_kept": made["clips_kept"],
        "clips_rejected": made["clips_rejected"],
        **data_online.measure(_tell),
    }
    files.write_text(RUN / "report.json", json.dumps(figures, indent=1) + "\n")
    missed = [f"not fetched: {problem}" for problem in problems]
    missed += list(_wrong_clips(outcome.records, out / "work"))
    if made["minutes"] > MAX_MINUTES:
        missed.append(f"{made['minutes']} minutes are over {MAX_MINUTES:g}")
    if min(recall, precision) < 0.9:
        missed.append(f"cuts: recall {recall}, precision {precision}; both must be 0.9")
    return figures, missed


def read_changes(path: Path) -> list[Change]:
    """The list made by hand."""
    lines = [line.split() for line in path.read_text().splitlines() if line[0] != "#"]
    return [Change(kind, int(at[0]), int(at[-1])) for kind, *at in lines]


def found_changes(records: Iterable[ClipRecord], source: str) -> list[Change]:
    """Changes of shot in the first minutes of a source, off the spans of all its records."""
    shots = sorted(
        (record.span, record.cuts)
        for record in records
        if record.source == source and record.span is not None and record.cuts is not None
    )
    changes = []
    end = 0.0
    for span, cuts in shots:
        if cuts[0] in ("hard", "fade") and span[0] < SECONDS:
            changes.append(Change(cuts[0], round(end * FPS), round(span[0] * FPS)))
        end = span[1]
    return changes


def score(found: Sequence[Change], true: Sequence[Change]) -> tuple[float, float]:
    """Recall and precision of changes. One is right if it is of the kind and at the place.

    A hard cut may be two frames off; a fade must share half of the frames that either spans.
    """
    hits = sum(any(_agree(one, other) for one in found) for other in true)
    right = sum(any(_agree(one, other) for other in true) for one in found)
    return round(hits / len(true), 4), round(right / max(1, len(found)), 4)


def _agree(one: Change, other: Change) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind == "hard":
        return abs(one.first - other.first) <= TOLERANCE and one.first == one.last
    shared = min(one.last, other.last) - max(one.first, other.first)
    return 2 * shared >= max(one.last, other.last) - min(one.first, other.first)


def _wrong_clips(records: Sequence[ClipRecord], work: Path) -> Iterable[str]:
    """Kept clips that don't decode or last too long or short, and a screencast that was kept."""
    for record in records:
        if record.is_rejected or record.media is None or record.span is None:
            continue
        place = f"clip {record.id} of {record.source}"
        if record.source == real_clips.SCREENCAST.file:
            yield f"{place} is a screen recording, and was kept"
        try:
            frames, fps = media.read_video(work / record.media.path)
        except (UsageError, LimitError) as error:
            yield f"{place}: {error}"
            continue
        is_off = abs(len(frames) / fps - (record.span[1] - record.span[0])) > 1 / fps
        if is_off and (record.probe is None or record.probe.num_frames > 1):
            yield f"{place} lasts {len(frames) / fps} s instead of {record.span}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
