"""Several takes of the same thing, of which each clip keeps the one that joins best."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.generate.engine import Video
from sora_jax.generate.request import MAX_SEED, Request

TAKES = 4
_APART = 7919  # between the seeds of a request's takes


def of_each(requests: Sequence[Request]) -> list[Request]:
    """The requests TAKES times over, each time by other seeds; first as they are."""
    return [
        dataclasses.replace(request, seed=(request.seed + take * _APART) % (MAX_SEED + 1))
        for take in range(TAKES)
        for request in requests
    ]


def over(array: NDArray) -> NDArray:
    """What requests have in common (B ...), for `of_each` of them."""
    return np.concatenate([array] * TAKES)


def best(made: Video, cost: NDArray[np.floating]) -> Video:
    """Of takes (TAKES * B T H W 3) each clip's one of the least cost (TAKES * B)."""
    count = len(made) // TAKES
    chosen = cost.reshape(TAKES, count).argmin(0)
    return made[chosen * count + np.arange(count)]


def steps(videos: Video) -> NDArray[np.float64]:
    """Root mean square differences of neighbouring frames: B T H W 3 -> B T-1."""
    pairs = itertools.pairwise(np.moveaxis(videos, 1, 0))  # one at a time: clips may be long
    return np.sqrt(
        np.stack([np.square(b.astype(np.float64) - a).mean((1, 2, 3)) for a, b in pairs], 1)
    )
