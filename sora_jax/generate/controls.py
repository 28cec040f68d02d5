"""Controls: style, lighting, perspective, camera and pacing, chosen instead of described.

What the model has words for is said in the prompt. What it has none for, or what is given as a
number, is done to the finished pictures: light and style by colour, perspective and camera by a
window over the picture, pacing by sampling more or less and showing it in the same time.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError, check_name
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate.styles import find_style
from sora_jax.models.text.tokenizer import split
from sora_jax.post import chain, retime, view
from sora_jax.post.chain import Steps
from sora_jax.post.view import View

type Frames = NDArray[np.uint8]  # T H W 3

_NIGHT_STOPS, _NIGHT_WARMTH = -2.2, -0.6
LIGHTINGS: dict[str, tuple[str, Steps]] = {  # what says it, and what does it to a picture
    "day": ("by day", Steps()),
    "golden hour": ("in golden light", Steps(warmth=0.6)),
    "dusk": ("at dusk", Steps(exposure=-1.0, warmth=0.7)),
    "night": ("at night", Steps(exposure=_NIGHT_STOPS, warmth=_NIGHT_WARMTH)),
}
PACINGS = {"slow": ("slowly", 0.5), "normal": ("", 1.0), "fast": ("quickly", 1.5)}
MIN_PACE, MAX_PACE = 0.25, 4.0
_MOVES = {"still": "with a still camera"} | {
    move: f"while the camera {move.replace(' ', 's ', 1)}" for move in view.MOVES[1:]
}
_PERSPECTIVES = {name: f"from a {name}" for name in view.PERSPECTIVES} | {
    "eye level": "",
    "close-up": "in a close-up",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Controls:
    """What is asked for; None leaves it to the prompt."""

    style: str | None = None  # a name of STYLES or of `styles`
    styles: str | Path | None = None  # a YAML file of one's own styles
    lighting: str | float | None = None  # a name of LIGHTINGS, or from 0 (night) to 1 (day)
    perspective: str | None = None  # a name of view.PERSPECTIVES
    camera: str | None = None  # of view.MOVES; NAME:AMOUNT with the share of the picture crossed
    pacing: str | float | None = None  # a name of PACINGS, or how many times as fast

    def __post_init__(self):
        if self.styles is not None and self.style is None:
            raise UsageError(f"{self.styles} is a file of styles; say which by --style NAME")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """How controls are carried out: before sampling, and after it."""

    prompt: str
    negative: str = ""
    cfg_scale: float | None = None
    steps: tuple[Steps, ...] = ()
    view: View | None = None
    pace: float = 1.0
    done_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of each control: "words", "finish" or both."""

    @property
    def changes_frames(self) -> bool:
        return bool(self.steps) or self.view is not None or self.pace != 1

    def num_sampled(self, num_frames: int, window: int) -> int:
        """Frames to sample for so many to be shown: whole chunks, at least a window of them."""
        if self.pace == 1:
            return num_frames
        needed = math.ceil((num_frames - 1) * self.pace) + 1
        return max(-(-needed // CHUNK_FRAMES) * CHUNK_FRAMES, window)

    def finish(self, frames: Frames, num_frames: int) -> Frames:
        """The `num_frames` to show of what was sampled."""
        if self.pace != 1:
            frames = retime.at_places(frames, np.arange(num_frames) * self.pace)
        for steps in self.steps:
            frames = np.stack(list(chain.finish(frames, steps)))
        return frames if self.view is None else view.look(frames, self.view)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Way:
    """One control: what says it (None: nothing can), and what does it where that is not known."""

    words: str | None
    steps: Steps = Steps()
    look: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pace: float = 1.0


def take(wishes: Mapping[str, Any]) -> tuple[Controls, dict[str, Any]]:
    """The controls, and all else that is wished for."""
    names = [field.name for field in dataclasses.fields(Controls)]
    own = {name: value for name, value in wishes.items() if name in names}
    return Controls(**own), {k: v for k, v in wishes.items() if k not in names}


def direct(controls: Controls, prompt: str, words: Collection[str]) -> Direction:
    """How to do it with a model that knows `words`. Raises UsageError for what there is not."""

    def knows(text: str) -> bool:
        return set(split(text)) <= set(words)

    makers: dict[str, Callable[[Any], _Way]] = {
        "lighting": _lighting,
        "perspective": _perspective,
        "camera": _camera,
        "pacing": _pacing,
    }
    asked = {name: getattr(controls, name) for name in makers}
    ways = {name: makers[name](value) for name, value in asked.items() if value is not None}
    said = {name: way.words for name, way in ways.items() if way.words and knows(way.words)}
    done = [way for name, way in ways.items() if name not in said]
    done_by = {name: "words" if name in said else "finish" for name in ways}
    steps = [way.steps for way in done if way.steps.names]
    changes: dict[str, Any] = {}
    if controls.style is not None:
        style = find_style(controls.style, controls.styles)
        by = ["finish"] if style.post else []
        if style.prompt != "{prompt}" and knows(style.prompt.replace("{prompt}", " ")):
            prompt, by = style.prompt.replace("{prompt}", prompt), ["words", *by]
        changes = {"negative": style.negative, "cfg_scale": style.cfg_scale}
        steps = [chain.make_steps(**style.post)] * bool(style.post) + steps
        done_by["style"] = " and ".join(by) or "guidance"
    look = {key: value for way in done for key, value in way.look.items()}
    return Direction(
        prompt=" ".join([prompt, *said.values()]),
        steps=tuple(steps),
        view=View(**look) if look else None,
        pace=math.prod(way.pace for way in done),
        done_by=done_by,
        **changes,
    )


def _lighting(value: str | float) -> _Way:
    amount = _number(value)
    if amount is None:
        check_name("lighting", str(value), LIGHTINGS)
        words, steps = LIGHTINGS[str(value)]
        return _Way(words=words, steps=steps)
    if not 0 <= amount <= 1:
        raise UsageError(f"lighting {amount:g} is not from 0 (night) to 1 (day)")
    dark = 1 - amount
    return _Way(words=None, steps=Steps(exposure=dark * _NIGHT_STOPS, warmth=dark * _NIGHT_WARMTH))


def _perspective(value: str) -> _Way:
    check_name("perspective", value, view.PERSPECTIVES)
    return _Way(words=_PERSPECTIVES[value], look={"perspective": value})


def _camera(value: str) -> _Way:
    move, colon, text = value.partition(":")
    check_name("camera", move, view.MOVES)
    if not colon:
        return _Way(words=_MOVES[move], look={"move": move})
    amount = _number(text)
    if amount is None:
        raise UsageError(f"camera {value!r} is not NAME or NAME:AMOUNT, as in pan left:0.2")
    return _Way(words=None, look={"move": move, "amount": amount})


def _pacing(value: str | float) -> _Way:
    pace = _number(value)
    if pace is None:
        check_name("pacing", str(value), PACINGS)
        words, pace = PACINGS[str(value)]
        return _Way(words=words, pace=pace)
    if not MIN_PACE <= pace <= MAX_PACE:
        raise UsageError(f"pacing {pace:g} is not from {MIN_PACE:g} to {MAX_PACE:g} times as fast")
    return _Way(words=None, pace=pace)


def _number(value: str | float) -> float | None:
    """A number that is one, or None for a name. Raises UsageError for nan and infinity."""
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        raise UsageError(f"{value} is no number that can be used; give a finite one")
    return number
