"""Clips longer than the window that the network sees: the window slides, keeping some context."""

from collections.abc import Sequence

import numpy as np

from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Latents
from sora_jax.generate.request import Request


def to_length(
    engine: Engine,
    latents: Latents,
    requests: Sequence[Request],
    settings: SamplingConfig,
    num_frames: int | None,
) -> Latents:
    """Bring a sampled window to `num_frames` (None: as it is): grown, or cut at its end.

    A clip shorter than the window is the beginning of one, since the window is the length that the
    network knows.
    """
    if num_frames is None:
        return latents
    if num_frames < CHUNK_FRAMES or num_frames % CHUNK_FRAMES:
        raise UsageError(f"num_frames {num_frames} is not a positive multiple of {CHUNK_FRAMES}")
    num_chunks = num_frames // CHUNK_FRAMES
    missing = num_chunks - latents.shape[1]
    if missing > 0:
        latents = grow(engine, latents, requests, settings, num_new=missing, is_forward=True)
    return latents[:, :num_chunks]


def grow(
    engine: Engine,
    latents: Latents,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
    is_forward: bool,
    context: int | None = None,
) -> Latents:
    """Add `num_new` chunks after (or before) `latents` (B n h w C), which stay as they are.

    Each window of settings.num_frames keeps at least `context` known chunks (half a window unless
    told otherwise, fewer when there are no more), and all that it has room for in the last window.
    """
    window = settings.num_frames // CHUNK_FRAMES
    if window < 2:
        raise LimitError("this model sees 1 chunk at a time; extending needs one that sees 2")
    context = window // 2 if context is None else context
    if not 1 <= context < window:
        raise UsageError(f"context {context} chunks must be in 1..{window - 1}; use {window // 2}")
    made = 0
    while made < num_new:
        wanted = min(num_new - made, window - context)
        given = min(latents.shape[1], window - wanted)
        known = np.zeros((len(latents), window, *latents.shape[2:4]), bool)
        canvas = np.zeros((len(latents), window, *latents.shape[2:]), np.float32)
        if is_forward:
            canvas[:, :given], known[:, :given] = latents[:, -given:], True
            first = latents.shape[1] - given
        else:
            canvas[:, -given:], known[:, -given:] = latents[:, :given], True
            first = -made - (window - given)
        result = engine.sample(requests, settings, latents=canvas, known=known, first_chunk=first)
        if is_forward:
            latents = np.concatenate([latents, result[:, given : given + wanted]], axis=1)
        else:
            new = result[:, window - given - wanted : window - given]
            latents = np.concatenate([new, latents], axis=1)
        made += wanted
    return latents
