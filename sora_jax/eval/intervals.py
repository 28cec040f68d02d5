"""Confidence intervals of shares."""

import math
from collections.abc import Sequence
from statistics import NormalDist


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share: the true shares that `successes` of `n` do not refute.

    It stays within [0, 1] and has a width even at 0 and `n` successes. With n = 0 it is (0, 1).
    """
    if not 0 <= successes <= n or not 0 < level < 1:
        raise ValueError(f"{successes} of {n} at level {level} is no share; give 0 <= k <= n")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, room = successes / n, z * z / n
    middle = (share + room / 2) / (1 + room)
    half = z / (1 + room) * math.sqrt(share * (1 - share) / n + room / (4 * n))
    # At the ends the exact bounds are 0 and 1; rounding must not move them.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == n else middle + half
    return low, high


def share(right: Sequence[bool]) -> float:
    """Share of True; NaN of nothing would hide a mistake, so that is a ValueError."""
    if not right:
        raise ValueError("a share of 0 clips is not defined; judge at least 1")
    return sum(right) / len(right)
