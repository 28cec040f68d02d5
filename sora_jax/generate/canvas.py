"""Requests and known latents as the canvas that the network sees: one clip a row."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.canvas import TARGET, Canvas
from sora_jax.data.geometry import clip_geometry
from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.request import FOREVER, Caption, Request, token_grid
from sora_jax.models import patchify
from sora_jax.models.network import ModelConfig
from sora_jax.models.text.tokenizer import NULL, PADDING, Tokenizer

Texts = tuple[NDArray[np.int32], NDArray[np.float32]]  # ids B S, spans B S 2


def build_canvas(
    model: ModelConfig,
    settings: SamplingConfig,
    texts: Texts,
    latents: NDArray[np.float32],
    known: NDArray[np.bool_],
) -> Canvas:
    """Build the canvas of a window.

    `latents` (B n h w C) count where `known` (B n h w) is True and are ignored elsewhere.
    """
    ids, spans = texts
    clip = clip_geometry(token_grid(model, settings), settings.fps, settings.size)
    batch, length, num_frames = len(ids), len(clip.index), len(clip.frame_seconds)
    cond = np.where(known[..., None], latents, 0).astype(np.float32)
    bits = np.repeat(known[..., None], CHUNK_FRAMES, axis=-1).astype(np.float32)

    def rows(array: np.ndarray) -> jnp.ndarray:
        return jnp.asarray(np.broadcast_to(array, (batch, *array.shape)))

    return Canvas(
        cond=patchify.to_tokens(jnp.asarray(cond), model.dit.patch),
        known=patchify.to_tokens(jnp.asarray(bits), model.dit.patch),
        position=rows(clip.position),
        role=rows(np.full(length, TARGET, np.int32)),
        segment=rows(np.zeros(length, np.int32)),
        frame=rows(clip.frame),
        frame_segment=rows(np.zeros(num_frames, np.int32)),
        frame_seconds=rows(clip.frame_seconds),
        meta=rows(clip.meta),
        text=jnp.asarray(ids),
        text_segment=jnp.zeros(ids.shape, jnp.int32),
        text_span=jnp.asarray(spans),
    )


def encode_captions(tokenizer: Tokenizer, requests: Sequence[Request]) -> Texts:
    """Token ids and spans of the requests' captions. Raises UsageError if they do not fit."""
    return _stack([_encode(tokenizer, request.captions) for request in requests])


def encode_negatives(tokenizer: Tokenizer, requests: Sequence[Request]) -> Texts:
    """Token ids and spans of what guidance moves away from."""
    captions = [(Caption(text=r.negative),) if r.negative else () for r in requests]
    return _stack([_encode(tokenizer, caption) for caption in captions])


def _encode(tokenizer: Tokenizer, captions: tuple[Caption, ...]):
    size = tokenizer.max_tokens
    ids, spans = np.full(size, PADDING, np.int32), np.zeros((size, 2), np.float32)
    spans[:, 1] = FOREVER
    if not captions:
        ids[0] = NULL
        return ids, spans
    encoded = [(tokenizer.encode(caption.text), caption) for caption in captions]
    total = sum(len(tokens) for tokens, _ in encoded)
    if total > size:
        raise UsageError(
            f"the prompts have {total} tokens together and this model takes {size}; shorten them"
        )
    place = 0
    for tokens, caption in encoded:
        stop = place + len(tokens)
        ids[place:stop] = tokens
        spans[place:stop] = caption.start, caption.end
        place = stop
    return ids, spans


def _stack(rows: list) -> Texts:
    return np.stack([ids for ids, _ in rows]), np.stack([spans for _, spans in rows])
