"""Clips longer than the window that the network sees: the window slides, keeping some context.

Chunks of a clip are numbered from its first one; what is put before that has negative numbers. A
window's captions are those of its own seconds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.engine import Engine, Latents
from sora_jax.generate.request import Request, latent_grid


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
    first_chunk: int = 0,
) -> Latents:
    """Add `num_new` chunks after (or before) `latents` (B n h w C), which stay as they are.

    Each window of settings.num_frames keeps at least `context` known chunks (half a window unless
    told otherwise, fewer when there are no more), and all that it has room for in the last window.
    `first_chunk` is the number of the first of `latents`.
    """
    window = _window(settings)
    context = window // 2 if context is None else context
    if not 1 <= context < window:
        raise UsageError(f"context {context} chunks must be in 1..{window - 1}; use {window // 2}")
    made = 0
    while made < num_new:
        wanted = min(num_new - made, window - context)
        given = min(latents.shape[1], window - wanted)
        if is_forward:
            first = first_chunk + latents.shape[1] - given
            result = _sample(engine, (latents[:, -given:], None), requests, settings, first)
            latents = np.concatenate([latents, result[:, given : given + wanted]], axis=1)
        else:
            first = first_chunk - made - (window - given)
            result = _sample(engine, (None, latents[:, :given]), requests, settings, first)
            new = result[:, window - given - wanted : window - given]
            latents = np.concatenate([new, latents], axis=1)
        made += wanted
    return latents


def bridge(
    engine: Engine,
    left: Latents,
    right: Latents,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
    first_chunk: int = 0,
) -> Latents:
    """`left` and `right` (B n h w C) joined by `num_new` chunks that go from one to the other.

    A gap that one window does not span grows on from the left until it does. `first_chunk` is the
    number of the first chunk of `left`.
    """
    window = _window(settings)
    if window < 3:
        raise LimitError(f"this model sees {window} chunks at a time; joining clips takes 3")
    if num_new > window - 2:
        left = grow(
            engine,
            left,
            requests,
            settings,
            num_new=num_new - (window - 2),
            is_forward=True,
            first_chunk=first_chunk,
        )
        num_new = window - 2
    room = window - num_new
    after = min(right.shape[1], room // 2)
    before = min(left.shape[1], room - after)
    after = min(right.shape[1], room - before)
    first = first_chunk + left.shape[1] - before
    result = _sample(engine, (left[:, -before:], right[:, :after]), requests, settings, first)
    # Where both clips are short the window is longer than what it joins, and ends in the middle.
    return np.concatenate([left, result[:, before : before + num_new], right], axis=1)


def complete(
    engine: Engine,
    latents: Latents,
    known: NDArray[np.bool_],
    requests: Sequence[Request],
    settings: SamplingConfig,
) -> Latents:
    """Fill in the chunks of `latents` (B n h w C) that are not `known` (n), whatever the length.

    What fits into one window is sampled at once. Of a longer clip the gaps between known chunks are
    bridged, and then its ends are grown; with nothing known it begins as a window from text.
    """
    count, window = latents.shape[1], _window(settings)
    if count <= window:
        return _fill_window(engine, latents, known, requests, settings)
    if not known.any():
        first = _fill_window(engine, latents[:, :window], known[:window], requests, settings)
        return grow(engine, first, requests, settings, num_new=count - window, is_forward=True)
    places = np.flatnonzero(known)
    done, start = latents[:, places[:1]], int(places[0])
    for place, before in zip(places[1:], places, strict=False):
        here = latents[:, place : place + 1]
        if place == before + 1:
            done = np.concatenate([done, here], axis=1)
        else:
            gap = int(place - before - 1)
            done = bridge(engine, done, here, requests, settings, num_new=gap, first_chunk=start)
    if places[-1] + 1 < count:
        missing = count - int(places[-1]) - 1
        done = grow(
            engine,
            done,
            requests,
            settings,
            num_new=missing,
            is_forward=True,
            first_chunk=start,
        )
    if start:
        done = grow(
            engine,
            done,
            requests,
            settings,
            num_new=start,
            is_forward=False,
            first_chunk=start,
        )
    return done


def redo(
    engine: Engine,
    latents: Latents,
    known: NDArray[np.bool_],
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    start: int,
    strength: float,
) -> Latents:
    """Make the chunks of `latents` (B n h w C) from `start` on again, noised to `strength`.

    Those `known` (n) stay. The first window begins before `start`, and that is made again with it,
    as what the new chunks follow: as it was, it would hold on to what is to change. The windows
    after it keep half a window of what is new.
    """
    count, window = latents.shape[1], _window(settings)
    out, done, number = latents.copy(), start, np.arange(count)
    begin = max(min(start - 1, count - window), 0)
    while done < count:
        here = slice(begin, min(begin + window, count))
        stays = (known | (number < done)) & (number >= start)
        out[:, here] = _fill_window(
            engine, out[:, here], stays[here], requests, settings, strength, begin
        )
        done, begin = here.stop, max(min(here.stop - window // 2, count - window), 0)
    return out


def _window(settings: SamplingConfig) -> int:
    """Chunks that the network sees at once."""
    window = settings.num_frames // CHUNK_FRAMES
    if window < 2:
        raise LimitError("this model sees 1 chunk at a time; extending needs one that sees 2")
    return window


def _fill_window(
    engine: Engine, latents, known, requests, settings, strength: float = 1.0, first_chunk: int = 0
) -> Latents:
    """A clip of at most one window; a shorter one is the beginning of a window."""
    whole = (len(latents), _window(settings), *latents.shape[2:])
    canvas, mask = np.zeros(whole, np.float32), np.zeros(whole[:-1], bool)
    canvas[:, : len(known)] = latents
    mask[:, : len(known)] = known[:, None, None]
    amount = np.ones(whole[:2], np.float32)
    amount[:, : len(known)] = strength
    made = engine.sample(
        _seen(requests, settings, first_chunk),
        settings,
        latents=canvas,
        known=mask,
        strength=amount,
        first_chunk=first_chunk,
    )
    return made[:, : len(known)]


def _seen(requests: Sequence[Request], settings: SamplingConfig, first_chunk: int) -> list[Request]:
    begin = first_chunk * CHUNK_FRAMES / settings.fps
    return [r.seen_from(begin, begin + settings.num_frames / settings.fps) for r in requests]


def _sample(
    engine: Engine,
    ends: tuple[Latents | None, Latents | None],
    requests: Sequence[Request],
    settings: SamplingConfig,
    first_chunk: int,
) -> Latents:
    """A window that begins and ends with what is known; its captions as seen from its start."""
    grid = (len(requests), *latent_grid(engine.model, settings))
    latents = np.zeros((*grid, engine.model.vae.channels), np.float32)
    known = np.zeros(grid, bool)
    before, after = ends
    if before is not None:
        latents[:, : before.shape[1]], known[:, : before.shape[1]] = before, True
    if after is not None:
        latents[:, -after.shape[1] :], known[:, -after.shape[1] :] = after, True
    here = _seen(requests, settings, first_chunk)
    return engine.sample(here, settings, latents=latents, known=known, first_chunk=first_chunk)
