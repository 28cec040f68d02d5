"""Re-cut: parts of a clip in a new order, with what lies between them generated."""

import itertools
from collections.abc import Sequence

import numpy as np

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import gap
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request


def recut(
    engine: Engine,
    parts: Sequence[Video],
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_fill: int,
) -> Video:
    """Join `parts` (each B T H W 3, whole chunks), `num_fill` generated frames between each two.

    Frames of the parts come out as they went in: only what is generated is decoded (`gap`).
    """
    for name, count in [("part", part.shape[1]) for part in parts] + [("gap", num_fill)]:
        if count % CHUNK_FRAMES or (name == "part" and not count):
            raise UsageError(f"a {name} has {count} frames; it needs a multiple of {CHUNK_FRAMES}")
    if not num_fill:
        return np.concatenate(parts, axis=1)
    out, begin = [parts[0]], 0
    for left, right in itertools.pairwise(parts):
        filled = gap.fill(
            engine, left, right, requests, settings, num_new=num_fill, first_frame=begin
        )
        out += [filled, right]
        begin += left.shape[1] + num_fill
    return np.concatenate(out, axis=1)
