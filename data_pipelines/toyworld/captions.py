"""Scenes to captions: varied natural English that says everything the oracle judges.

What a caption leaves out is the default: slow, by day, flat, under a still camera.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.data.scene import Scene
from sora_jax.data.schema import Caption

# (finite verb, gerund) by motion; the first of each is the plainest.
_VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    **{
        way: ((f"moves {way}", f"moving {way}"), (f"goes {way}", f"going {way}"))
        for way in ("left", "right", "up", "down")
    },
    "still": (("stays still", "staying still"), ("does not move", "not moving")),
    "grow": (("grows", "growing"), ("gets bigger", "getting bigger")),
    "orbit": (("moves in circles", "moving in circles"),),
    "bounce": (("bounces", "bouncing"),),
    "rotate": (("spins", "spinning"), ("rotates", "rotating")),
}
_ADVERBS = {"none": ("",), "slow": ("slowly", "slowly", ""), "fast": ("quickly", "fast")}
_STYLES = {"flat": ("", "", "flat"), "outlined": ("outlined",)}
_LIGHTS = {"day": ("", "by day", "in daylight"), "dusk": ("at dusk",), "night": ("at night",)}
_CAMERAS = {
    "still": ("", "", "", "with a still camera"),
    "pan left": ("while the camera pans left", "with the camera panning left"),
    "pan right": ("while the camera pans right", "with the camera panning right"),
    "zoom in": ("while the camera zooms in", "with the camera zooming in"),
    "zoom out": ("while the camera zooms out", "with the camera zooming out"),
}


def captions(scene: Scene, seed: int) -> list[Caption]:
    """Describe a scene: the whole clip first, then each side of a cut.

    `seed` picks the words. A caption of a level `small` scene has at most 12 words, of a level
    `full` scene with one object at most 28, with two objects or a cut at most 44.
    """
    rng = np.random.default_rng(seed)
    words = _draw_words(scene, rng)
    if scene.change is None:
        return [Caption(_sentence(scene, words, rng), 0.0, scene.duration)]
    before = dataclasses.replace(scene, change=None)
    item = dataclasses.replace(
        scene.objects[0], shape=scene.change.shape, colour=scene.change.colour
    )
    after = dataclasses.replace(before, objects=(item,), background=scene.change.background)
    first, second = _sentence(before, words, rng), _sentence(after, words, rng)
    time = scene.change.time
    link = _pick((f"then after {time:.1f} seconds", f"and after {time:.1f} seconds"), rng)
    return [
        Caption(f"{first} {link} {second}", 0.0, scene.duration),
        Caption(first, 0.0, time),
        Caption(second, time, scene.duration),
    ]


def _pick(options: tuple, rng: np.random.Generator):
    return options[rng.integers(len(options))]


@dataclasses.dataclass(frozen=True)
class _Words:
    """The words drawn for a scene: the same on both sides of a cut."""

    style: str
    verbs: tuple[tuple[str, str], ...]
    adverbs: tuple[str, ...]
    light: str
    camera: str


def _draw_words(scene: Scene, rng: np.random.Generator) -> _Words:
    return _Words(
        style=_pick(_STYLES[scene.style], rng),
        verbs=tuple(_pick(_VERBS[item.motion], rng) for item in scene.objects),
        adverbs=tuple(_pick(_ADVERBS[item.speed], rng) for item in scene.objects),
        light="" if scene.level == "small" else _pick(_LIGHTS[scene.light], rng),
        camera="" if scene.level == "small" else _pick(_CAMERAS[scene.camera], rng),
    )


def _sentence(scene: Scene, words: _Words, rng: np.random.Generator) -> str:
    """Put one scene without a cut into one of several orders of words."""
    style = "" if scene.level == "small" else words.style
    sides = (" on the left", " on the right") if len(scene.objects) == 2 else ("",)
    article = "an" if style == "outlined" else "a"
    nouns = [
        f"{article} {style} {item.colour} {item.shape}{side}"
        for item, side in zip(scene.objects, sides, strict=True)
    ]
    acts, doing = (
        " and ".join(
            f"{noun} {verb[form]} {adverb}"
            for noun, verb, adverb in zip(nouns, words.verbs, words.adverbs, strict=True)
        )
        for form in (0, 1)
    )
    place = f"a {scene.background} background"
    text = _pick(
        (
            f"{acts} on {place} {words.light} {words.camera}",
            f"{acts} on {place} {words.light} {words.camera}",
            f"on {place} {words.light} {acts} {words.camera}",
            f"{place} {words.light} with {doing} {words.camera}",
            f"{doing} on {place} {words.light} {words.camera}",
        ),
        rng,
    )
    return " ".join(text.split())
