"""`report.html` of a pipeline run: what was kept, what was not and why, in one file, no script."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines import histogram
from data_pipelines.pipeline import PipelineConfig
from data_pipelines.records import ClipRecord
from data_pipelines.stages.decide import rules
from data_pipelines.yields import StageYield
from sora_jax import media, sheets
from sora_jax.errors import LimitError, UsageError
from sora_jax.eval.style import CSS

KEPT_SHOWN, REJECTED_SHOWN = 24, 6  # clips; rejected ones for each reason
_OWN_CSS = """
.kept{fill:var(--good)}.rejected{fill:var(--bad)}
.limit{stroke:var(--ink);stroke-dasharray:4 3}
.limit-text{fill:var(--ink);font-size:11px}
.strip{margin:0 0 .9rem}.strip img{max-width:100%;display:block;border-radius:4px}
"""


def render(
    found: Sequence[ClipRecord],
    yields: Sequence[StageYield],
    figures: Mapping[str, Any],
    config: PipelineConfig,
    work: Path,
) -> str:
    """The whole page. Cut clips are looked for below `work`; without them there are no pictures."""
    kept = [record for record in found if not record.is_rejected]
    rejected = [record for record in found if record.is_rejected]
    total = sum(record.media.seconds for record in kept if record.media is not None)
    header = (
        "<header><p class='kind'>sora_jax data report</p>"
        f"<h1>{len(kept):,} clips kept, {len(rejected):,} rejected</h1>"
        f"<p>{total / 60:.1f} minutes of video from"
        f" {len({record.source for record in found}):,} files in {figures['minutes']:.1f} minutes."
        "</p></header>"
    )
    sections = [
        _section("Yields", _table(yields)),
        _section("Scores", _charts(found, config)),
        _section("Kept", "".join(_strip(record, work) for record in spread(kept, KEPT_SHOWN))),
        *(
            _section(
                f"Rejected: {reason} ({len(group)})",
                "".join(_strip(record, work) for record in spread(group, REJECTED_SHOWN)),
            )
            for reason, group in by_reason(rejected).items()
        ),
    ]
    settings = html.escape(json.dumps(figures["settings"], indent=1))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>sora_jax data</title><style>{CSS}{_OWN_CSS}</style></head>\n<body>{header}"
        + "".join(sections)
        + f"<details><summary>settings</summary><pre>{settings}</pre></details></body></html>\n"
    )


def by_reason(rejected: Sequence[ClipRecord]) -> dict[str, list[ClipRecord]]:
    """Rejected records by their main reason, the most frequent first."""
    groups: dict[str, list[ClipRecord]] = {}
    for record in rejected:
        assert record.decision is not None
        groups.setdefault(record.decision.reasons[0][0], []).append(record)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def spread(found: Sequence[ClipRecord], count: int) -> list[ClipRecord]:
    """At most `count` records, evenly spread."""
    if len(found) <= count:
        return list(found)
    return [found[i] for i in np.linspace(0, len(found) - 1, count).round().astype(int)]


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _table(yields: Sequence[StageYield]) -> str:
    rows = ""
    for line in yields:
        reasons = ", ".join(f"{name} {number}" for name, number in line.rejected.items())
        speed = f"{line.megabytes / line.seconds:.1f}" if line.seconds >= 0.5 else ""
        rows += (
            f"<tr><th>{html.escape(line.name)}</th><td class='number'>{line.into:,}</td>"
            f"<td class='number'>{line.out:,}</td><td class='number'>{line.share:.0%}</td>"
            f"<td class='number'>{line.seconds:,.1f}</td><td class='number'>{speed}</td>"
            f"<td>{html.escape(reasons)}</td></tr>"
        )
    return (
        "<div class='wide'><table><thead><tr><th>stage</th><th>in</th><th>out</th><th>share</th>"
        f"<th>seconds</th><th>MB/s</th><th>rejected</th></tr></thead><tbody>{rows}</tbody></table>"
        "</div><p class='note'>Share: of what came out or was rejected. Seconds of work, added over"
        " processes. MB/s: of source files.</p>"
    )


def _charts(found: Sequence[ClipRecord], config: PipelineConfig) -> str:
    scored = [record for record in found if record.scores]
    charts = ""
    for name in dict.fromkeys(name for record in scored for name in record.scores):
        parts: tuple[list[float], list[float]] = ([], [])
        for record in scored:
            if name in record.scores:
                parts[record.is_rejected].append(record.scores[name])
        limits = [(rule.field, rule.limit) for rule in rules(config.decide) if rule.score == name]
        charts += histogram.draw(name, parts[0], parts[1], limits)
    key = "<p class='note'><span class='right'>kept</span>, <span class='wrong'>rejected</span></p>"
    return f"{key}<div class='charts'>{charts}</div>" if charts else ""


def _strip(record: ClipRecord, work: Path) -> str:
    """One clip: frames, where it is from, and its captions or the reasons against it."""
    place = record.source
    if record.span is not None and record.span[1] > 0:
        place += f", {record.span[0]:.2f} to {record.span[1]:.2f} s"
    if record.is_rejected and record.decision is not None:
        lines = [sentence for _, sentence in record.decision.reasons]
    else:
        lines = [caption.text for caption in record.captions[:1]]
    text = "<br>".join(html.escape(line) for line in lines)
    return (
        f"<article class='strip'>{_picture(record, work)}<div>{text}</div>"
        f"<div class='soft'><small>{html.escape(place)}</small></div></article>"
    )


def _picture(record: ClipRecord, work: Path) -> str:
    if record.media is None:
        return ""
    try:
        frames, _ = media.read_video(work / record.media.path)
    except (UsageError, LimitError):
        return ""
    image = Image.fromarray(sheets.contact_sheet([frames], frames=6))
    image.thumbnail((1000, 240))
    target = io.BytesIO()
    image.save(target, format="jpeg", quality=80)
    content = base64.b64encode(target.getvalue()).decode()
    return f'<img loading="lazy" alt="frames" src="data:image/jpeg;base64,{content}">'
