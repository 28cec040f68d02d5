"""A histogram of one score as inline SVG: kept and rejected clips, and where the thresholds are."""

import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 26, 30
BINS = 40

type Limits = Sequence[tuple[str, float]]  # name of the threshold, value


def draw(name: str, kept: Sequence[float], rejected: Sequence[float], limits: Limits) -> str:
    """The figure of one score; bars of rejected clips stand on those of kept ones.

    Values that go over several powers of ten are shown on a logarithmic axis; those at or below 0
    are then in its first bar.
    """
    values = np.asarray([*kept, *rejected, *(limit for _, limit in limits)], np.float64)
    is_log = bool(values.max() > 30 * max(np.median(values), 1e-9) or values.max() > 20)
    floor = max(values[values > 0].min(), values.max() / 1e5) if is_log else 0.0
    places = _axis(values, is_log, floor)
    low, high = float(places.min()), float(places.max())
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, BINS + 1)
    counts = [
        np.histogram(_axis(np.asarray(part, np.float64), is_log, floor), edges)[0]
        for part in (kept, rejected)
    ]
    top = max(1, int((counts[0] + counts[1]).max()))
    parts = [*_bars(counts[0], counts[1], top), *_ticks(low, high, is_log, top)]
    for label, limit in limits:
        x = _x(float(_axis(np.asarray([limit], np.float64), is_log, floor)[0]), low, high)
        side = "end" if x > WIDTH / 2 else "start"
        parts.append(
            f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="limit-text" text-anchor="{side}" x="{x:.1f}" y="{TOP - 8}">'
            f"{html.escape(label)} {limit:g}</text>"
        )
    return (
        f"<figure><figcaption>{html.escape(name)}{', logarithmic' if is_log else ''}</figcaption>"
        f'<svg role="img" aria-label="histogram of {html.escape(name)}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">' + "".join(parts) + "</svg></figure>"
    )


def _axis(values: NDArray[np.float64], is_log: bool, floor: float) -> NDArray[np.float64]:
    return np.log10(np.maximum(values, floor)) if is_log else values


def _x(place: float, low: float, high: float) -> float:
    return LEFT + (place - low) / (high - low) * (WIDTH - RIGHT - LEFT)


def _bars(kept: NDArray[np.int64], rejected: NDArray[np.int64], top: int):
    step = (WIDTH - RIGHT - LEFT) / BINS
    scale = (HEIGHT - BOTTOM - TOP) / top
    for i in range(BINS):
        base = HEIGHT - BOTTOM
        for count, kind in ((kept[i], "kept"), (rejected[i], "rejected")):
            if count:
                base -= count * scale
                yield (
                    f'<rect class="{kind}" x="{LEFT + i * step + 0.5:.1f}" y="{base:.1f}"'
                    f' width="{step - 1:.1f}" height="{count * scale:.1f}"/>'
                )


def _ticks(low: float, high: float, is_log: bool, top: int):
    bottom = HEIGHT - BOTTOM
    yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    yield f'<text class="tick end" x="{LEFT - 6}" y="{TOP + 4}">{top}</text>'
    if is_log:
        marks = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
    else:
        marks = [low + (high - low) * i / 4 for i in range(5)]
    for mark in marks:
        text = f"{10**mark:g}" if is_log else f"{mark:.3g}"
        yield f'<text class="tick" x="{_x(mark, low, high):.1f}" y="{bottom + 16}">{text}</text>'
