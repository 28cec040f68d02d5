"""`report.html`: one file for people, with videos, curves and tables inside and no script."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sora_jax import media
from sora_jax.eval import goals, tables
from sora_jax.eval.charts import line_chart
from sora_jax.eval.running import Example
from sora_jax.eval.style import CSS

SIDE = 128  # pixels: smaller videos are enlarged by repeating theirs
SIGMA_BIN = "heldout_loss_sigma_"  # begins the names of the held-out loss by noise level
MAX_VIDEO_BYTES = 3_500_000  # of all videos together, so that the page stays under 5 MB

type Metrics = Sequence[Mapping[str, float]]


def render(
    report: Mapping[str, Any],
    examples: Sequence[Example],
    curves: Mapping[str, Metrics],
    config: Mapping[str, Any],
    fps: float,
) -> str:
    """The whole page. `curves` has the metrics of the transformer and of the autoencoder."""
    checks = goals.check(report)
    title = "toy world" if "toyworld" in report else "own videos"
    sections = [
        _header(report, title, checks),
        section("Goals", tables.goal_table(checks)) if "toyworld" in report else "",
        section("Right attributes", tables.attribute_tables(report["toyworld"]))
        if "toyworld" in report
        else section("Overfitted captions", tables.overfit_table(report)),
        *galleries(examples, fps),
        section("Curves", '<div class="charts">' + "".join(_charts(curves)) + "</div>"),
        section("Time", tables.time_table(report["goodput"])) if report.get("goodput") else "",
        section("Run", _run(report, config)),
    ]
    return document(title, sections)


def document(title: str, sections: Sequence[str]) -> str:
    """The page that holds these sections, those that are empty left out."""
    body = "\n".join(part for part in sections if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>sora_jax: {title}</title><style>{CSS}</style></head>\n<body>{body}</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of a page under its title; "" if it is empty."""
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _header(report: Mapping[str, Any], title: str, checks: Sequence[goals.Check]) -> str:
    minutes, machine = report["minutes"], report["machine"]
    if "toyworld" in report:
        met = sum(check.is_met for check in checks)
        headline = f"{met} of {len(checks)} goals met"
    else:
        headline = f"{report['overfit']['psnr']:.1f} dB on overfitted captions"
    spent = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items() if name != "total")
    facts = (
        f"{minutes['total']:.1f} minutes ({spent}) on {machine['cores']} cores, "
        f"{machine['cpu']}. A clip takes {report['sample_seconds']:.2f} s."
    )
    return (
        f"<header><p class='kind'>sora_jax report: {html.escape(title)}</p>"
        f"<h1>{html.escape(headline)}</h1><p>{html.escape(facts)}</p></header>"
    )


def galleries(examples: Sequence[Example], fps: float) -> Iterator[str]:
    """One section a group of examples, in the order in which the groups come."""
    spent = 0
    for group in dict.fromkeys(example.group for example in examples):
        shown = [example for example in examples if example.group == group]
        cards = []
        for example in shown:
            if spent < MAX_VIDEO_BYTES:
                content = _encode(example, fps)
                spent += len(content)
                cards.append(_card(example, content))
        left = len(shown) - len(cards)
        note = f"<p class='note'>{left} more were left out to keep this page small.</p>"
        body = f'<div class="grid-of-clips">{"".join(cards)}</div>' + (note if left else "")
        yield section(f"{group[0].upper()}{group[1:]}", body)


def _encode(example: Example, fps: float) -> str:
    """The video as a data URI's base64. Players want even sides."""
    height, width = example.video.shape[1:3]
    video = example.video[:, : height // 2 * 2, : width // 2 * 2]
    upscale = max(1, SIDE // height)
    content = media.encode_mp4(video, fps, crf=20, pixel_format="yuv420p", upscale=upscale)
    return base64.b64encode(content).decode()


def _card(example: Example, content: str) -> str:
    mark = {True: ("right", "&#10003; right"), False: ("wrong", "&#10007; wrong"), None: ("", "")}
    name, text = mark[example.is_right]
    height, width = example.video.shape[1:3]
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in example.notes)
    return (
        f'<article class="clip {name}" style="--ratio:{width / height:.3f}">'
        f'<video autoplay loop muted playsinline controlslist="nodownload" '
        f'src="data:video/mp4;base64,{content}"></video>'
        f"<p>{html.escape(example.prompt)}</p>"
        + (f'<p class="mark">{text}</p>' if text else "")
        + (f"<ul>{notes}</ul>" if notes else "")
        + "</article>"
    )


def _charts(curves: Mapping[str, Metrics]) -> Iterator[str]:
    dit, vae = curves.get("transformer", ()), curves.get("autoencoder", ())
    yield line_chart(
        {"training": _line(dit, "loss"), "held out": _line(dit, "heldout_loss")},
        x_label="steps",
        y_label="transformer: loss",
        is_log=True,
    )
    bins = sorted({name for line in dit for name in line if name.startswith(SIGMA_BIN)})
    yield line_chart(
        {name.removeprefix(SIGMA_BIN).replace("_", " to "): _line(dit, name) for name in bins},
        x_label="steps",
        y_label="transformer: held-out loss by sigma",
        is_log=True,
    )
    yield line_chart(
        {"training": _line(vae, "psnr"), "held out": _line(vae, "heldout_psnr")},
        x_label="steps",
        y_label="autoencoder: PSNR in dB",
    )
    yield line_chart(
        {"gradient": _line(dit, "grad_norm")},
        x_label="steps",
        y_label="transformer: norm of the gradient",
        is_log=True,
    )


def _line(metrics: Metrics, name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in metrics if line.get(name) is not None]


def _run(report: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """How to get the same run again."""
    parts = {
        "transformer": ", ".join(f"{name} {value}" for name, value in report["dit"].items()),
        "autoencoder": ", ".join(f"{name} {value}" for name, value in report["vae"].items()),
    }
    return origin(report, parts) + settings_of(config)


def origin(report: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """Where the figures of a page come from, `parts` among them."""
    facts = {
        "command": report["command"],
        "commit": report["commit"] or "not in git",
        "machine": ", ".join(f"{k} {v}" for k, v in report["machine"].items() if v is not None),
        **parts,
        "versions": ", ".join(f"{name} {value}" for name, value in report["versions"].items()),
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(str(text))}</dd>" for name, text in facts.items()
    )
    return f"<dl>{rows}</dl>"


def settings_of(config: Mapping[str, Any]) -> str:
    """A config to unfold; "" if there is none."""
    settings = html.escape(json.dumps(config, indent=2))
    details = f"<details><summary>settings</summary><pre>{settings}</pre></details>"
    return details if config else ""
