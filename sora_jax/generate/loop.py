"""Loops: clips whose last frame leads to their first."""

from collections.abc import Sequence

import numpy as np

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import gap, takes
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request


def from_prompt(engine: Engine, requests: Sequence[Request], settings: SamplingConfig) -> Video:
    """Make a clip of one window that has no end (`turned`).

    Having none it may begin anywhere, and begins where the least changes (`begin_at_rest`).
    """
    return begin_at_rest(turned(engine, requests, settings))


def turned(engine: Engine, requests: Sequence[Request], settings: SamplingConfig) -> Video:
    """Clips whose window is turned at each step, so that what is last in them is no end.

    Of several takes that is kept which changes the least, all around.
    """
    latents = engine.sample(takes.of_each(requests), settings, is_loop=True)
    return smoothest(engine.decode(latents, is_loop=True))


def smoothest(made: Video) -> Video:
    """Each clip's take whose largest step is least, that from its end to its beginning included."""
    return takes.best(made, takes.steps(np.concatenate([made, made[:, :1]], axis=1)).max(1))


def begin_at_rest(videos: Video) -> Video:
    """Loops (B T H W 3) turned so that between the last frame and the first changes the least.

    There a player starts again, and some stop for a moment.
    """
    before = np.roll(videos, 1, axis=1).astype(np.float32)
    steps = np.square(videos - before).mean((2, 3, 4))  # [t]: from frame t - 1 to t
    starts = steps.argmin(1)
    return np.stack(
        [np.roll(video, -start, axis=0) for video, start in zip(videos, starts, strict=True)]
    )


def close(
    engine: Engine,
    videos: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
) -> Video:
    """`videos` (B T H W 3) as they are, and `num_new` frames from their end to their beginning."""
    for name, count in (("video", videos.shape[1]), ("closing part", num_new)):
        if count < CHUNK_FRAMES or count % CHUNK_FRAMES:
            raise UsageError(
                f"the {name} has {count} frames; it needs a multiple of {CHUNK_FRAMES}"
            )
    new = gap.fill(engine, videos, videos, requests, settings, num_new=num_new)
    return np.concatenate([videos, new], axis=1)
