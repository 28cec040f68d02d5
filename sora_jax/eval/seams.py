"""How pictures follow each other: steps between frames, and how well two paths agree."""

import numpy as np
from numpy.typing import NDArray

from sora_jax.generate.takes import steps


def seam(videos: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean square difference of the last frame and the first: B T H W 3 -> B."""
    return steps(videos[:, [-1, 0]])[:, 0]


def ranks(values: NDArray) -> NDArray[np.float64]:
    """Places of values in their order; equal ones share a place."""
    values = np.asarray(values, np.float64)
    return np.array([np.mean(np.flatnonzero(np.sort(values) == value)) for value in values])


def spearman(a: NDArray, b: NDArray) -> float:
    """Rank correlation; 1 where both rise together."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Correlation of two paths (T 2) along the axis in which `b` moves more; None if it is still.

    A path that is nowhere (NaN) or stands still agrees with nothing.
    """
    moved = b.std(0)
    if not moved.max() > 0.5:  # pixels: less is grain
        return None
    axis = int(moved.argmax())
    if not a[:, axis].std() > 0:
        return 0.0
    return float(np.corrcoef(a[:, axis], b[:, axis])[0, 1])
