"""Writing what the suite `vae` found: OUT.json for programs, OUT.html and OUT.png for people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sora_jax import files, media, sheets
from sora_jax.eval import provenance, vae_page
from sora_jax.eval.report import read_config, read_metrics, rounded
from sora_jax.eval.running import Example

SHEET_FRAMES = 4  # of a clip: each shows source, reconstruction and error


def write(
    out: Path,
    figures: Mapping[str, Any],
    examples: Sequence[Example],
    *,
    command: str,
    run: Path | None = None,
) -> dict[str, Any]:
    """Write the report beside `out` and give what is in OUT.json.

    Curves and settings come from `run`, the run directory that trained this autoencoder.
    """
    report = rounded(
        {
            **figures,
            "machine": provenance.describe_machine(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "command": command,
        }
    )
    metrics = []
    if run:  # with a transformer the autoencoder has a directory of its own
        metrics = read_metrics((run / "vae" if (run / "vae").is_dir() else run) / "metrics.jsonl")
    config = read_config(run) if run else {}
    files.write_text(out, json.dumps(report, indent=2, allow_nan=False) + "\n")
    page = vae_page.render(report, examples, metrics, config)
    files.write_text(out.with_suffix(".html"), page)
    write_sheet(out.with_suffix(".png"), examples)
    return report


def write_sheet(path: Path, examples: Sequence[Example]) -> None:
    """A contact sheet: source, reconstruction and amplified error side by side, a row a clip."""
    titles = [f"{e.prompt}   {', '.join(e.notes)}   [{e.group}]" for e in examples]
    videos = [e.video for e in examples]
    media.write_png(path, sheets.contact_sheet(videos, titles, frames=SHEET_FRAMES))
