"""Storyboards: cards on a time line, each with a text, a picture or a clip, become one video."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import windows
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.kept import keep_frames
from sora_jax.generate.remix import STRENGTHS
from sora_jax.generate.request import Caption, Request

CHANGE = STRENGTHS["mild"]  # of what was there before a card's text is kept so much


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What is to be seen from `time` (seconds) to the next card."""

    time: float
    prompt: str = ""
    frames: NDArray[np.uint8] | None = None
    """T H W 3, whole chunks, that are given from `time` on."""
    is_cut: bool = False
    """Whether a new shot begins here, which sees nothing of what is before."""


def render(
    engine: Engine,
    cards: Sequence[Card],
    settings: SamplingConfig,
    *,
    num_frames: int,
    negative: str = "",
    seed: int = 0,
) -> Video:
    """One video (1 T H W 3) of `num_frames` from cards in the order of their times.

    A shot is made as its first text says. What comes at a later card's time is made again from
    there on as that card's text says, from what there was (`windows.redo`): what the texts do not
    change goes on. A card's frames come out as they went in (`kept`).

    Raises UsageError for cards that are not in order, not at a whole chunk, that overlap or lie
    outside.
    """
    starts = check(cards, settings, num_frames)
    shots = [i for i, card in enumerate(cards) if card.is_cut or i == 0]
    out = []
    for first, last in itertools.pairwise([*shots, len(cards)]):
        begin = starts[first] if first else 0
        end = starts[last] if last < len(cards) else num_frames // CHUNK_FRAMES
        shot = cards[first:last]
        texts = [
            (starts[number] - begin, _request(cards[number], negative, seed + number))
            for number in range(first, last)
            if cards[number].prompt
        ] or [(0, Request(captions=(), negative=negative, seed=seed + first))]
        latents, known = _given(engine, shot, settings, begin, end)
        latents = windows.complete(engine, latents, known, [texts[0][1]], settings)
        made = engine.decode(latents)
        for place, request in texts[1:]:
            latents = windows.redo(
                engine, latents, known, [request], settings, start=place, strength=CHANGE
            )
            frame = place * CHUNK_FRAMES
            made[:, frame:] = engine.decode(latents)[:, frame:]
        given = [
            (CHUNK_FRAMES * (place - begin), card.frames[None])
            for card, place in zip(shot, starts[first:last], strict=True)
            if card.frames is not None
        ]
        out.append(keep_frames(made, given))
    return np.concatenate(out, axis=1)


def key_frames(cards: Sequence[Card], settings: SamplingConfig, num_frames: int) -> list[int]:
    """The frame in the middle of each card's time: what a preview shows."""
    ends = [*check(cards, settings, num_frames)[1:], num_frames // CHUNK_FRAMES]
    starts = check(cards, settings, num_frames)
    return [(a + b) * CHUNK_FRAMES // 2 for a, b in zip(starts, ends, strict=True)]


def check(cards: Sequence[Card], settings: SamplingConfig, num_frames: int) -> list[int]:
    """The chunk at which each card begins. Raises UsageError."""
    if not cards:
        raise UsageError("the board has no card; give it at least one")
    chunk = CHUNK_FRAMES / settings.fps
    total = num_frames // CHUNK_FRAMES
    starts: list[int] = []
    for number, card in enumerate(cards, 1):
        place = round(card.time / chunk)
        if abs(place * chunk - card.time) > 1e-6:
            raise UsageError(
                f"card {number} is at {card.time:g} s; times are multiples of {chunk:g} s at "
                f"{settings.fps:g} fps, use {place * chunk:g}"
            )
        if not 0 <= place < total:
            raise UsageError(
                f"card {number} is at {card.time:g} s and the video ends at {total * chunk:g} s"
            )
        if starts and place <= starts[-1]:
            raise UsageError(
                f"card {number} is at {card.time:g} s, not after card {number - 1} at "
                f"{cards[number - 2].time:g} s; order them by time"
            )
        starts.append(place)
    for number, (card, begin, end) in enumerate(
        zip(cards, starts, [*starts[1:], total], strict=True), 1
    ):
        long = 0 if card.frames is None else len(card.frames) // CHUNK_FRAMES
        if long > end - begin:
            raise UsageError(
                f"the clip of card {number} lasts {long * chunk:g} s and there are "
                f"{(end - begin) * chunk:g} s until what comes next; cut it or move the next card"
            )
    return starts


def _request(card: Card, negative: str, seed: int) -> Request:
    return Request(captions=(Caption(text=card.prompt),), negative=negative, seed=seed)


def _given(engine: Engine, shot, settings: SamplingConfig, begin: int, end: int):
    """Latents (1 n h w C) of a shot's pictures and clips, and which chunks (n) they are."""
    step = engine.model.vae.spatial
    grid = (settings.size[0] // step, settings.size[1] // step, engine.model.vae.channels)
    latents, known = np.zeros((1, end - begin, *grid), np.float32), np.zeros(end - begin, bool)
    for card in shot:
        if card.frames is not None:
            place = round(card.time * settings.fps / CHUNK_FRAMES) - begin
            stop = place + len(card.frames) // CHUNK_FRAMES
            latents[:, place:stop] = engine.encode(card.frames[None])
            known[place:stop] = True
    return latents, known
