"""A browsable page of what is in shards: one HTML file with pictures inside and no script."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipelines.inspection import Sample, strip
from sora_jax.eval.style import CSS

_MAX_SIZES = 20  # lines of the histogram of a split
_OWN_CSS = """
.strip{background:var(--card);border:1px solid var(--line);border-radius:8px;margin:0 0 1rem;
padding:.6rem .8rem}
.strip img{max-width:100%;display:block;border-radius:4px}
.strip p{margin:.5rem 0}
.bar{display:inline-block;height:.7em;background:var(--a);border-radius:2px;min-width:2px}
"""


def render(
    name: str,
    figures: Mapping[str, Any],
    samples: Sequence[Sample],
    settings: Mapping[str, Any],
) -> str:
    """The page of shards called `name`; `figures` are those of `inspection.describe`."""
    total = sum(split["records"] for split in figures.values())
    hours = sum(split["seconds"] for split in figures.values()) / 3600
    size = sum(split["bytes"] for split in figures.values()) / 2**20
    header = (
        f"<header><p class='kind'>sora_jax shards: {html.escape(name)}</p>"
        f"<h1>{total:,} clips</h1><p>{hours:.2f} hours, {size:,.1f} MiB of payload</p></header>"
    )
    shown = "".join(_split(split, values) for split, values in figures.items())
    cards = "".join(_card(sample) for sample in samples)
    made = html.escape(json.dumps(settings, indent=1))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(name)}</title><style>{CSS}{_OWN_CSS}</style></head>\n<body>{header}"
        f"{shown}<section><h2>{len(samples)} clips, evenly spread</h2>{cards}</section>"
        f"<details><summary>settings they were made with</summary><pre>{made}</pre></details>"
        "</body></html>\n"
    )


def _split(name: str, figures: Mapping[str, Any]) -> str:
    """Figures and the histogram of sizes of one split."""
    captions, sizes = figures["captions"], figures["sizes"]
    percent = 100 / sizes[0]["records"]
    rows = "".join(
        f"<tr><td class='number'>{size['width']}x{size['height']}</td>"
        f"<td class='number'>{size['fps']:g}</td>"
        f"<td class='number'>{' / '.join(map(str, size['frames']))}</td>"
        f"<td class='number'>{size['records']:,}</td>"
        f"<td style='width:40%'><span class='bar' "
        f"style='width:{percent * size['records']:.1f}%'></span></td></tr>"
        for size in sizes[:_MAX_SIZES]
    )
    left = len(sizes) - _MAX_SIZES
    more = f"<p class='note'>and {left} rarer sizes</p>" if left > 0 else ""
    return (
        f"<section><h2>{html.escape(name)}</h2><p>{figures['records']:,} clips, "
        f"{figures['seconds']:,.1f} s, {figures['bytes']:,} bytes, {figures['latents']:,} as "
        f"latents. {captions['count']:,} captions, {captions['timed']:,} of them timed, with "
        f"{captions['words']:.1f} words on average.</p><div class='wide'><table><thead><tr>"
        "<th>size</th><th>frames/s</th><th>frames: least / middle / most</th><th>clips</th>"
        "<th></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{more}</section>"
    )


def _card(sample: Sample) -> str:
    """One clip: frames, captions, and what is stored with it."""
    record = sample.record
    title = f"<small>{html.escape(f'{sample.split}: {sample.id}')}</small>"
    if record is None:
        return (
            f"<article class='strip'><p class='wrong'>{html.escape(sample.problem)}</p></article>"
        )
    first, *timed = record.captions
    spans = "".join(
        f"<li>{caption.start:.2f} to {caption.end:.2f} s: {html.escape(caption.text)}</li>"
        for caption in timed
    )
    facts = [f"{record.num_frames} frames, {record.width}x{record.height}, {record.fps:g} frames/s"]
    facts += [f"{name} {value:.3g}" for name, value in sorted(record.scores.items())]
    facts += [text for text in (record.source, record.licence) if text]
    if record.latents is not None:
        facts.append("latents " + "x".join(map(str, record.latents.shape)))
    extra = html.escape(json.dumps(record.extra, indent=1))
    return (
        f"<article class='strip'>{_picture(sample.frames)}<p>{html.escape(first.text)}</p>"
        + (f"<ul>{spans}</ul>" if spans else "")
        + f"<p class='soft'>{html.escape('; '.join(facts))}<br>{title}</p>"
        + (f"<details><summary>extra</summary><pre>{extra}</pre></details>" if record.extra else "")
        + "</article>"
    )


def _picture(frames: NDArray[np.uint8] | None) -> str:
    if frames is None:
        return "<p class='note'>latents only: there is no picture without the autoencoder</p>"
    image = Image.fromarray(strip(frames))
    image.thumbnail((1000, 400))
    target = io.BytesIO()
    image.save(target, format="jpeg", quality=85)
    content = base64.b64encode(target.getvalue()).decode()
    return f'<img loading="lazy" alt="frames of the clip" src="data:image/jpeg;base64,{content}">'
