"""Text to video: nothing is known."""

from collections.abc import Sequence

from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request
from sora_jax.generate.windows import to_length


def generate(
    engine: Engine,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_frames: int | None = None,
) -> Video:
    """Make a clip of `num_frames` (one window unless told otherwise) for each request."""
    latents = engine.sample(requests, settings)
    return engine.decode(to_length(engine, latents, requests, settings, num_frames))
