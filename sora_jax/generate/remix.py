"""Video to video: sampling begins from the clip itself, noised as far as `strength` says."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_pixels
from sora_jax.generate.request import Request, latent_grid

STRENGTHS = {"subtle": 0.5, "mild": 0.85, "strong": 0.95}


def parse_strength(text: str) -> float:
    """A name of STRENGTHS or a number in [0, 1]."""
    if text in STRENGTHS:
        return STRENGTHS[text]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        names = ", ".join(STRENGTHS)
        raise UsageError(f"strength {text!r} is not one of {names} or a number from 0 to 1")
    return value


def remix(
    engine: Engine,
    videos: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    strength: float,
    keep: NDArray[np.bool_] | None = None,
) -> Video:
    """Make each of `videos` (B T H W 3, one window) again as its request says.

    `strength` 0 gives the clips as they come back from the autoencoder, 1 what the requests give
    without them (SDEdit, Meng et al. 2022). Where `keep` (H W, or T H W) is True a clip stays as it
    is, to the pixel (`kept`); a latent is known while sampling if all its pixels are kept.
    """
    if videos.shape[1] != settings.num_frames:
        raise LimitError(
            f"the clip has {videos.shape[1]} frames and this model sees {settings.num_frames} at a "
            "time; cut it to that length"
        )
    latents = engine.encode(videos)
    known = None
    if keep is not None:
        known = np.broadcast_to(keep_latents(keep, engine, settings), latents.shape[:-1])
    amount = np.full(latents.shape[:2], strength, np.float32)
    made = engine.decode(
        engine.sample(requests, settings, latents=latents, known=known, strength=amount)
    )
    return made if keep is None else keep_pixels(made, videos, keep)


def keep_latents(
    keep: NDArray[np.bool_], engine: Engine, settings: SamplingConfig
) -> NDArray[np.bool_]:
    """The latents (n h w) of which every pixel is to be kept."""
    size = (settings.num_frames, *settings.size)
    if keep.shape not in (size, size[1:]):
        height, width = settings.size
        raise UsageError(
            f"the mask is {keep.shape[-1]}x{keep.shape[-2]} and the clip {width}x{height}; "
            "make them one size"
        )
    n, h, w = latent_grid(engine.model, settings)
    step = engine.model.vae.spatial
    whole = np.broadcast_to(keep, size).reshape(n, CHUNK_FRAMES, h, step, w, step)
    return whole.all(axis=(1, 3, 5))
