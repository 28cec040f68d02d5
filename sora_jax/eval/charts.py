"""Line charts as inline SVG, without a library: curves of a run."""

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 34
MAX_POINTS = 300  # of a line; more can't be told apart

type Points = Sequence[tuple[float, float]]


def line_chart(
    series: Mapping[str, Points], *, x_label: str, y_label: str, is_log: bool = False
) -> str:
    """Draw named lines over one x axis; empty series are left out, and "" is given if all are.

    With `is_log` the y axis is logarithmic and points at or below 0 are left out.
    """
    lines = {
        name: _thin([p for p in points if _can_show(p, is_log)]) for name, points in series.items()
    }
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return ""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [_scale(y, is_log) for points in lines.values() for _, y in points]
    x_range, y_range = _span(min(xs), max(xs), 0), _span(min(ys), max(ys), 0.05)
    parts = [*_grid(x_range, y_range, is_log)]
    for number, points in enumerate(lines.values()):
        path = " ".join(
            f"{_place(x, x_range, LEFT, WIDTH - RIGHT):.1f},"
            f"{_place(_scale(y, is_log), y_range, HEIGHT - BOTTOM, TOP):.1f}"
            for x, y in points
        )
        parts.append(f'<polyline class="line s{number}" points="{path}"/>')
    parts.append(
        f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT - 4}">{html.escape(x_label)}</text>'
    )
    label = f"{y_label} by {x_label}"
    keys = " ".join(
        f'<span class="key s{number}">{html.escape(name)}</span>'
        for number, name in enumerate(lines)
    )
    return (
        f'<figure><figcaption>{html.escape(y_label)} {keys}</figcaption><svg role="img" '
        f'aria-label="{html.escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        + "".join(parts)
        + "</svg></figure>"
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], about `count` of them, for an even axis."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (factor * step) - count))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Logarithms, within [low, high], of 1, 2 and 5 times powers of ten; fewer on a long axis."""
    factors = (1, 2, 5) if high - low < 2 else (1,)
    places = range(math.floor(low), math.ceil(high) + 1)
    found = [place + math.log10(factor) for place in places for factor in factors]
    return [value for value in found if low <= value <= high]


def _grid(x_range: tuple[float, float], y_range: tuple[float, float], is_log: bool):
    for value in log_ticks(*y_range) if is_log else ticks(*y_range):
        y = _place(value, y_range, HEIGHT - BOTTOM, TOP)
        text = _number(10**value if is_log else value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>'
    for value in ticks(*x_range):
        x = _place(value, x_range, LEFT, WIDTH - RIGHT)
        yield f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}">{_number(value)}</text>'


def _can_show(point: tuple[float, float], is_log: bool) -> bool:
    return math.isfinite(point[1]) and (point[1] > 0 or not is_log)


def _thin(points: Points) -> Points:
    """Every k-th point, and the last."""
    stride = math.ceil(len(points) / MAX_POINTS)
    return points if stride < 2 else [*points[:-1:stride], points[-1]]


def _scale(value: float, is_log: bool) -> float:
    return math.log10(value) if is_log else value


def _span(low: float, high: float, margin: float) -> tuple[float, float]:
    room = margin * (high - low) or (0.0 if high > low else max(abs(high), 1.0) * 0.5)
    return low - room, high + room


def _place(value: float, span: tuple[float, float], start: float, stop: float) -> float:
    return start + (value - span[0]) / (span[1] - span[0]) * (stop - start)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value / 1000:g}k"
