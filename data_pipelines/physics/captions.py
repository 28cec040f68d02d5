"""What happens in a clip, in varied natural English, and in parts with their times.

A caption says only what the simulation has shown: that a thing bounced, fell over or was pushed
away is read off its motion. What is left out is the default: bright light, a still camera.
"""

import dataclasses

import numpy as np

from data_pipelines.physics.scene import Scene, Thing
from data_pipelines.physics.world import Motion
from sora_jax.data.schema import Caption

_SIZES = {"small": ("small", "small", "little"), "big": ("big", "big", "large")}
_WAYS = {
    "right": ("from left to right", "to the right", "from the left to the right"),
    "left": ("from right to left", "to the left", "from the right to the left"),
    "towards": ("towards the camera", "closer to the camera"),
    "away": ("away from the camera", "into the distance"),
}
_FLOORS = ("a {} floor", "a {} floor", "the {} floor", "a {} ground")
_LIGHTS = {
    "bright": ("", "", "in bright light", "in daylight"),
    "dim": ("in dim light", "in low light", "in weak light"),
    "left": ("lit from the left", "with light from the left", "with its shadow to the right"),
    "right": ("lit from the right", "with light from the right", "with its shadow to the left"),
}
_CAMERAS = {
    "still": ("", "", "filmed by a still camera", "while the camera stands still"),
    "pan left": ("while the camera pans left", "as the camera turns to the left"),
    "pan right": ("while the camera pans right", "as the camera turns to the right"),
    "closer": ("while the camera moves closer", "as the camera comes nearer"),
    "back": ("while the camera pulls back", "as the camera moves away"),
    "circle left": ("while the camera circles to the left",),
    "circle right": ("while the camera circles to the right",),
    "rise": ("while the camera rises", "as the camera goes up"),
}
_BOUNCE = 0.12  # metres up again after the floor was touched
_PUSH = 0.2  # metres to the side
_FALL = 60.0  # degrees


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a motion has shown."""

    bounces: bool
    """The first thing goes up again after it has landed."""
    falls_over: bool
    """The thing that is hit ends on its side."""
    is_pushed: bool
    """The thing that is hit ends somewhere else."""


def read_facts(scene: Scene, motion: Motion, fps: float) -> Facts:
    """Read off what a caption may say."""
    height = motion.positions[:, 0, 2]
    landed = motion.landed[0]
    after = height[int(np.ceil((landed or 0.0) * fps)) :]
    bounces = landed is not None and len(after) > 1 and (after - after[0]).max() > _BOUNCE
    if scene.event != "collide":
        return Facts(bounces=bool(bounces), falls_over=False, is_pushed=False)
    moved = np.linalg.norm(motion.positions[-1, 1, :2] - motion.positions[0, 1, :2])
    can_fall = scene.things[1].shape in ("cylinder", "capsule")
    return Facts(
        bounces=False,
        falls_over=can_fall and bool(motion.tilts[-1, 1] > _FALL),
        is_pushed=bool(moved > _PUSH),
    )


def captions(
    scene: Scene, motion: Motion, facts: Facts, fps: float, rng: np.random.Generator
) -> tuple[Caption, ...]:
    """The caption of the whole clip; then, where an event cuts it in two, one for each part."""
    seconds = len(motion.positions) / fps
    nouns = [_noun(thing, rng) for thing in scene.things]
    floor = _pick(_FLOORS, rng).format(scene.floor)
    light, camera = _pick(_LIGHTS[scene.light], rng), _pick(_CAMERAS[scene.camera], rng)
    if len(nouns) > 1:
        light = light.replace("its shadow", "shadows")
    whole, before, after = {"drop": _drop, "roll": _roll, "collide": _collide}[scene.event](
        scene, facts, nouns, floor, rng
    )
    text = _pick(
        (
            f"{whole} {light} {camera}",
            f"{whole} {light} {camera}",
            f"{whole} {camera}, {light}" if light else f"{whole} {camera}",
        ),
        rng,
    )
    found = [Caption(_clean(text), 0.0, seconds)]
    moment = motion.hit if scene.event == "collide" else motion.landed[0]
    if after and moment is not None and 2 / fps <= moment <= seconds - 2 / fps:
        time = round(moment, 3)
        found.append(Caption(_clean(f"{before} {light}"), 0.0, time))
        found.append(Caption(_clean(f"{after} {light}"), time, seconds))
    return tuple(found)


def _drop(
    scene: Scene, facts: Facts, nouns: list[str], floor: str, rng: np.random.Generator
) -> tuple[str, str, str]:
    """The whole, and what is seen before and after the first thing lands."""
    several = len(nouns) > 1
    who = " and ".join(nouns)
    fall, land, lie = ("fall", "land", "lie") if several else ("falls", "lands", "lies")
    drop = "drop" if several else "drops"
    bounce = "" if several or not facts.bounces else _pick((" and bounces", ", bouncing"), rng)
    whole = _pick(
        (
            f"{who} {fall} onto {floor}{bounce}",
            f"{who} {drop} onto {floor}{bounce}",
            f"{who} {fall} from above and {land} on {floor}"
            + (bounce if "," in bounce else bounce and ", then bounces"),
            f"{who} {fall} down to {floor}{bounce}",
        ),
        rng,
    )
    then = "bounces on" if bounce else f"{lie} on"
    return whole, f"{who} {fall} through the air", f"{who} {then} {floor}"


def _roll(
    scene: Scene, facts: Facts, nouns: list[str], floor: str, rng: np.random.Generator
) -> tuple[str, str, str]:
    verb, doing = _travel(scene.things[0])
    way = _pick(_WAYS[scene.direction], rng)
    past = ""
    if len(nouns) > 1:
        past = _pick((f", past {nouns[1]}", f" in front of {nouns[1]}"), rng)
    whole = _pick(
        (
            f"{nouns[0]} {verb} {way} on {floor}{past}",
            f"{nouns[0]} {verb} {way} across {floor}{past}",
            f"{nouns[0]} {verb} across {floor} {way}{past}",
            f"on {floor}, {nouns[0]} {verb} {way}{past}",
            f"{nouns[0]} {doing} {way} on {floor}{past}",
        ),
        rng,
    )
    return whole, "", ""


def _collide(
    scene: Scene, facts: Facts, nouns: list[str], floor: str, rng: np.random.Generator
) -> tuple[str, str, str]:
    first, other = nouns
    verb, _ = _travel(scene.things[0])
    way = _pick(_WAYS[scene.direction], rng)
    if facts.falls_over:
        strike = _pick((f"knocks over {other}", f"hits {other}, which falls over"), rng)
        after = f"{_definite(other)} falls over"
    elif facts.is_pushed:
        strike = _pick(
            (f"knocks {other} away", f"hits {other} and pushes it away", f"pushes {other} along"),
            rng,
        )
        after = f"{_definite(other)} is pushed away by {_definite(first)}"
    else:
        strike = _pick((f"hits {other}", f"bumps into {other}"), rng)
        after = f"{_definite(first)} touches {_definite(other)}"
    whole = _pick(
        (
            f"{first} {verb} {way} and {strike} on {floor}",
            f"on {floor}, {first} {verb} {way} and {strike}",
            f"{first} {verb} {way} across {floor} and {strike}",
        ),
        rng,
    )
    return whole, f"{first} {verb} towards {other} on {floor}", f"{after} on {floor}"


def _travel(thing: Thing) -> tuple[str, str]:
    """How a thing moves over the floor: finite verb and gerund."""
    return ("slides", "sliding") if thing.shape == "cube" else ("rolls", "rolling")


def _noun(thing: Thing, rng: np.random.Generator) -> str:
    size = _pick(_SIZES[thing.size], rng)
    return f"a {size} {thing.colour} {thing.shape}"


def _definite(noun: str) -> str:
    return f"the {noun.removeprefix('a ')}"


def _clean(text: str) -> str:
    """One space between words, none before a comma, and no comma at the end."""
    return " ".join(text.split()).replace(" ,", ",").removesuffix(",")


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
