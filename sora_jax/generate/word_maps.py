"""Where each word of a prompt acts: what the model would make otherwise if the word were not there.

An answer by the outcome, not by attention weights, which say what was looked at and not what came
of it (Jain & Wallace 2019). The finished clip is noised again, and the model says what it takes for
the clip behind the noise, once with the whole prompt and once without each word: occlusion
(Zeiler & Fergus 2014) of words.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Params
from sora_jax.canvas import Canvas
from sora_jax.errors import UsageError
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate.canvas import build_canvas, encode_captions
from sora_jax.generate.engine import Engine, Latents, make_denoise
from sora_jax.generate.request import Request, token_grid
from sora_jax.models import patchify
from sora_jax.models.network import ModelConfig
from sora_jax.models.text.tokenizer import PADDING, split

SIGMAS = (0.5, 0.7, 0.9)  # noise levels that count, all alike: from details to layout


def word_maps(
    engine: Engine, request: Request, settings: SamplingConfig, latents: Latents
) -> tuple[list[str], NDArray[np.float32]]:
    """The words of a request with one caption, and how much each changes each latent: W n h w.

    `latents` (1 n h w C) are the clip that the request gave, of one window. A value is the root
    mean square over channels and SIGMAS, in standard deviations of a latent.
    Raises UsageError for several captions or none.
    """
    if len(request.captions) != 1:
        raise UsageError(f"{len(request.captions)} captions have no one list of words; give one")
    words = split(request.captions[0].text)
    ids, spans = encode_captions(engine.bundle.tokenizer, [request])
    without = np.repeat(ids, len(words) + 1, axis=0)
    place = 0
    for number, word in enumerate(words, 1):
        stop = place + len(engine.bundle.tokenizer.encode(word))
        without[number, place:stop] = PADDING
        place = stop
    canvas = build_canvas(
        engine.model,
        settings,
        (without, np.repeat(spans, len(without), axis=0)),
        np.repeat(latents, len(without), axis=0),
        np.zeros((len(without), *latents.shape[1:-1]), bool),
    )
    clean = patchify.to_tokens(jnp.asarray(latents), engine.model.dit.patch)
    squares = [
        _changes(
            engine.params["dit"],
            canvas,
            clean,
            jnp.float32(sigma),
            jax.random.key(request.seed),
            model=engine.model,
            prediction=settings.prediction,
        )
        for sigma in SIGMAS
    ]
    grid = token_grid(engine.model, settings)
    return words, np.sqrt(np.mean(squares, axis=0)).reshape(len(words), *grid).astype(np.float32)


def shade(video: NDArray[np.uint8], share: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A clip (T H W 3) in grey, and red as far as each latent's `share` (n h w, to 1) says."""
    steps = (size // part for size, part in zip(video.shape, share.shape, strict=False))
    spread = share
    for axis, step in enumerate(steps):
        spread = np.repeat(spread, step, axis=axis)
    grey = video.mean(-1, keepdims=True) * 0.5
    red = np.array([255.0, 60.0, 0.0])
    amount = spread[..., None]
    return np.round(grey * (1 - amount) + amount * (0.4 * grey + 0.6 * red)).astype(np.uint8)


@functools.partial(jax.jit, static_argnames=("model", "prediction"))
def _changes(
    params: Params,
    canvas: Canvas,
    clean: Float[Array, "1 L P"],
    sigma: Float[Array, ""],
    key: Array,
    *,
    model: ModelConfig,
    prediction: str,
) -> Float[Array, "W L"]:
    """Mean square, over a token's values, of what the first row's text adds to each other row's."""
    noise = jax.random.normal(key, clean.shape)
    noised = jnp.broadcast_to((1 - sigma) * clean + sigma * noise, canvas.cond.shape)
    levels = jnp.full(canvas.frame_seconds.shape, sigma)
    found = make_denoise(model, params, canvas, prediction)(noised, levels)
    return jnp.square(found[1:] - found[:1]).mean(-1)
