"""Re-cut: parts of a clip in a new order, with what lies between them generated."""

from collections.abc import Sequence

import numpy as np

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import windows
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_frames
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

    Frames of the parts come out as they went in (`kept`): only what is generated is decoded,
    between the latents of what is around it.
    """
    for name, count in [("part", part.shape[1]) for part in parts] + [("gap", num_fill)]:
        if count % CHUNK_FRAMES or (name == "part" and not count):
            raise UsageError(f"a {name} has {count} frames; it needs a multiple of {CHUNK_FRAMES}")
    if not num_fill:
        return np.concatenate(parts, axis=1)
    gap = num_fill // CHUNK_FRAMES
    latents = [engine.encode(part) for part in parts]
    out = [parts[0]]
    for i, (left, right) in enumerate(zip(latents, latents[1:], strict=False)):
        start = sum(part.shape[1] for part in out) // CHUNK_FRAMES - left.shape[1]
        joined = windows.bridge(
            engine, left, right, requests, settings, num_new=gap, first_chunk=start
        )
        around = engine.decode(joined[:, left.shape[1] - 1 : left.shape[1] + gap + 1])
        ends = parts[i][:, -CHUNK_FRAMES:], parts[i + 1][:, :CHUNK_FRAMES]
        places = 0, around.shape[1] - CHUNK_FRAMES
        filled = keep_frames(around, list(zip(places, ends, strict=True)))
        out += [filled[:, CHUNK_FRAMES:-CHUNK_FRAMES], parts[i + 1]]
    return np.concatenate(out, axis=1)
