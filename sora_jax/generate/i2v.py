"""Image to video: the first chunk is known, four frames of the image held still."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request, latent_grid
from sora_jax.generate.windows import to_length


def animate(
    engine: Engine,
    images: NDArray[np.uint8],
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_frames: int | None = None,
) -> Video:
    """Make a clip of `num_frames` (one window unless told otherwise) from each of `images`.

    `images` are uint8 B H W 3 of settings.size.
    """
    held = np.repeat(images[:, None], CHUNK_FRAMES, axis=1)
    first = engine.encode(held)
    grid = (len(images), *latent_grid(engine.model, settings))
    latents = np.zeros((*grid, first.shape[-1]), np.float32)
    known = np.zeros(grid, bool)
    latents[:, :1], known[:, 0] = first, True
    latents = engine.sample(requests, settings, latents=latents, known=known)
    return engine.decode(to_length(engine, latents, requests, settings, num_frames))
