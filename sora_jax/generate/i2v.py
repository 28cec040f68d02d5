"""Image to video: pictures at their times are known chunks, four frames of each held still."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import windows
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_frames
from sora_jax.generate.request import Request, latent_grid


def animate(
    engine: Engine,
    images: NDArray[np.uint8],
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    chunks: Sequence[int] = (0,),
    num_frames: int | None = None,
) -> Video:
    """Make a clip of `num_frames` (one window unless told otherwise) through each row of `images`.

    `images` are uint8 B K H W 3 of settings.size; the k-th of a row is seen at chunk `chunks[k]`,
    as it went in (`kept`).
    """
    count = (num_frames or settings.num_frames) // CHUNK_FRAMES
    grid = latent_grid(engine.model, settings)[1:]
    latents = np.zeros((len(images), count, *grid, engine.model.vae.channels), np.float32)
    known, given = np.zeros(count, bool), []
    for number, chunk in enumerate(chunks):
        held = np.repeat(images[:, number, None], CHUNK_FRAMES, axis=1)
        latents[:, [chunk]], known[chunk] = engine.encode(held), True
        given.append((CHUNK_FRAMES * chunk, held))
    made = engine.decode(windows.complete(engine, latents, known, requests, settings))
    return keep_frames(made, given)
