"""The report of a run: `report.json` for programs, `report.html` and contact sheets for people."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import files, media, sheets
from sora_jax.errors import UsageError
from sora_jax.eval import page, provenance
from sora_jax.eval.running import Evaluation, Example
from sora_jax.eval.showcase import RECONSTRUCTION

STAGES = ("setup", "data", "vae", "dit", "eval")  # of `minutes`, with their total
DIT = ("params", "steps", "samples_seen", "steps_per_second", "compiles", "matmul_share")
DIGITS = 4  # after the point


def build(
    workdir: str | Path,
    *,
    minutes: Mapping[str, float],
    evaluation: Evaluation,
    dit: Mapping[str, Any],
    command: str,
    fps: float,
    matmul_gflops_f32: float | None = None,
    goodput: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the report of a run directory and give what `report.json` holds.

    `minutes` has the STAGES that ran, `dit` the figures of DIT, `goodput` the shares of the wall
    time. Curves come from the directory's
    metrics.jsonl and vae/metrics.jsonl and settings from its config.json, where they exist.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise UsageError(f"no run directory {workdir}; name the one that was trained in")
    missing = [name for name in DIT if name not in dit]
    if missing:
        raise UsageError(f"figures of the transformer lack {', '.join(missing)}; report needs them")
    figures = evaluation.figures
    spent = {name: minutes.get(name, 0.0) for name in STAGES}
    report = rounded(
        {
            "minutes": spent | {"total": sum(spent.values())},
            **{name: figures[name] for name in ("oracle", "vae") if name in figures},
            "dit": {name: dit[name] for name in DIT},
            **{
                name: figures[name]
                for name in ("toyworld", "animate", "extend", "overfit")
                if name in figures
            },
            "sample_seconds": figures["sample_seconds"],
            **({"goodput": goodput} if goodput else {}),
            "machine": provenance.describe_machine(matmul_gflops_f32),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "command": command,
        }
    )
    files.write_text(workdir / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    curves = {
        "transformer": read_metrics(workdir / "metrics.jsonl"),
        "autoencoder": read_metrics(workdir / "vae" / "metrics.jsonl"),
    }
    text = page.render(report, evaluation.examples, curves, read_config(workdir), fps)
    files.write_text(workdir / "report.html", text)
    write_sheets(workdir, evaluation.examples)
    return report


def write_sheets(workdir: Path, examples: Sequence[Example]) -> list[Path]:
    """Contact sheets of the videos that were made and of what the autoencoder gives back."""
    written = []
    parts = {
        "samples.png": [e for e in examples if e.group != RECONSTRUCTION],
        "reconstructions.png": [e for e in examples if e.group == RECONSTRUCTION],
    }
    for name, shown in parts.items():
        if shown:
            wide = max(e.video.shape[2] / e.video.shape[1] for e in shown)
            sheet = sheets.contact_sheet(
                [e.video for e in shown],
                [f"{e.prompt}   [{e.group}]" for e in shown],
                [e.is_right for e in shown],
                frames=8 if wide < 2 else 4,
            )
            media.write_png(workdir / name, sheet)
            written.append(workdir / name)
    return written


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Lines of a metrics file in the order of their steps; none if there is no file.

    A run that was resumed repeats steps: the last line of a step counts. A line that was cut off
    by a crash is no record and is left out.
    """
    if not path.is_file():
        return []
    by_step: dict[int, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        by_step.setdefault(values["step"], {}).update(values)
    return [by_step[step] for step in sorted(by_step)]


def read_config(workdir: Path) -> dict[str, Any]:
    """The settings of a run directory; none if it has no config."""
    path = workdir / "config.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def rounded(value: Any) -> Any:
    """Plain numbers with DIGITS digits after the point; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), DIGITS) if math.isfinite(value) else None
    return value
