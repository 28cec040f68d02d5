"""Loops: clips whose last frame leads to their first."""

from collections.abc import Sequence

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import windows
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_frames
from sora_jax.generate.request import Request


def from_prompt(engine: Engine, requests: Sequence[Request], settings: SamplingConfig) -> Video:
    """Make a clip of one window that has no beginning: the window is turned at each step."""
    return engine.decode(engine.sample(requests, settings, is_loop=True), is_loop=True)


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
    latents = engine.encode(videos)
    joined = windows.bridge(
        engine, latents, latents, requests, settings, num_new=num_new // CHUNK_FRAMES
    )
    count = latents.shape[1] + num_new // CHUNK_FRAMES
    return keep_frames(engine.decode(joined[:, :count], is_loop=True), [(0, videos)], is_loop=True)
