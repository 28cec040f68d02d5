"""report.json and report.html of a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from data_pipelines import yields_page
from data_pipelines.local import Outcome
from data_pipelines.pipeline import PipelineConfig
from sora_jax import files


def write(outcome: Outcome, out: str | Path, config: PipelineConfig) -> dict[str, Any]:
    """Write both into the folder of the run; the figures of report.json."""
    figures = to_report(outcome, config)
    page = yields_page.render(outcome.records, outcome.yields, figures, config, Path(out) / "work")
    files.write_text(Path(out) / "report.json", json.dumps(figures, indent=1) + "\n")
    files.write_text(Path(out) / "report.html", page)
    return figures


def to_report(outcome: Outcome, config: PipelineConfig) -> dict[str, Any]:
    """The figures of a run, as they go into report.json."""
    rejected: dict[str, int] = {}
    for record in outcome.records:
        if record.is_rejected and record.decision is not None:
            name = record.decision.reasons[0][0]
            rejected[name] = rejected.get(name, 0) + 1
    return {
        "minutes": round(outcome.seconds / 60, 2),
        "clips_kept": sum(outcome.splits.values()),
        "clips_rejected": dict(sorted(rejected.items())),
        "splits": outcome.splits,
        "stages": [dataclasses.asdict(stage) for stage in outcome.yields],
        "settings": json.loads(json.dumps(dataclasses.asdict(config))),
    }
