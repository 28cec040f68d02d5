"""Curves of influence over time: how much of B there is, from 0 to 1."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from sora_jax.errors import UsageError

type Curve = Callable[[float], float]  # share of the time -> share of B, both in [0, 1]


def parse_curve(text: str) -> Curve:
    """A curve: "linear", "ease" (slow at both ends), or points such as "0:0,0.5:0.8,1:1".

    Points are time:share pairs, joined by straight lines. Times rise from 0 to 1.
    """
    if text == "linear":
        return lambda x: x
    if text == "ease":
        return lambda x: x * x * (3 - 2 * x)
    times, shares = _points(text)
    return lambda x: float(np.interp(x, times, shares))


def _points(text: str) -> tuple[list[float], list[float]]:
    help_text = 'use linear, ease, or points such as "0:0,0.5:0.8,1:1"'
    try:
        pairs = [tuple(float(part) for part in point.split(":")) for point in text.split(",")]
    except ValueError as error:
        raise UsageError(f"curve {text!r} is no curve; {help_text}") from error
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        raise UsageError(f"curve {text!r} has no time:share points; {help_text}")
    times, shares = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if not all(math.isfinite(value) and 0 <= value <= 1 for value in times + shares):
        raise UsageError(f"curve {text!r} has values outside of 0 to 1; {help_text}")
    if times[0] != 0 or times[-1] != 1 or any(b <= a for a, b in itertools.pairwise(times)):
        raise UsageError(f"the times of curve {text!r} must rise from 0 to 1; {help_text}")
    return times, shares
