"""What a physics scene holds: one of three events, its things, the floor, the light, the camera.

Lengths are in metres, x to the right of the picture, y away from the camera, z up.
"""

import dataclasses
from typing import Any

import numpy as np

EVENTS = ("drop", "roll", "collide")
SHAPES = ("ball", "cube", "cylinder", "capsule")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.08, 0.08),
    "green": (0.10, 0.62, 0.15),
    "blue": (0.10, 0.22, 0.90),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.52, 0.12, 0.72),
    "orange": (0.98, 0.48, 0.05),
    "pink": (0.98, 0.50, 0.70),
    "white": (0.95, 0.95, 0.95),
}
FLOORS: dict[str, tuple[float, float, float]] = {
    "gray": (0.45, 0.45, 0.45),
    "blue": (0.30, 0.42, 0.60),
    "green": (0.38, 0.52, 0.34),
    "brown": (0.45, 0.32, 0.22),
    "checkered": (0.70, 0.70, 0.70),
}
SIZES = {"small": 0.21, "big": 0.36}  # radius
LIGHTS = ("bright", "dim", "left", "right")
CAMERAS = (
    "still",
    "pan left",
    "pan right",
    "closer",
    "back",
    "circle left",
    "circle right",
    "rise",
)
DIRECTIONS = ("right", "left", "towards", "away")
MAX_SECONDS, MIN_SECONDS = 8.0, 1.0
_REACH = 1.05  # how far left and right things start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """One rigid body; `position` and `velocity` are those at the start."""

    shape: str
    colour: str
    size: str
    position: tuple[float, float, float]
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    is_lying: bool = False
    """On its side, its axis along y: a cylinder that can roll to the side."""
    yaw: float = 0.0  # radians
    tilt: float = 0.0  # radians

    @property
    def radius(self) -> float:
        """Of a sphere about as large as the thing."""
        return SIZES[self.size]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that determines a clip. The first thing is the one that acts."""

    event: str
    things: tuple[Thing, ...]
    direction: str  # of the first thing's way; "down" where it drops
    floor: str
    light: str
    camera: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, as kept in a record's `extra`."""
        return dataclasses.asdict(self)


def is_held_out(event: str, thing: Thing) -> bool:
    """Whether a composition is kept out of training: one in eight (event, shape, colour).

    Every event, shape and colour is still seen, and so is every pair of them.
    """
    place = EVENTS.index(event) + 3 * SHAPES.index(thing.shape) + list(COLOURS).index(thing.colour)
    return place % len(COLOURS) == 0


def half_height(thing: Thing) -> float:
    """From the floor to the centre of a thing that stands (or lies) on it."""
    radius = thing.radius
    standing = {"ball": 1.0, "cube": 0.85, "cylinder": 1.0, "capsule": 1.2}[thing.shape]
    return radius * (0.8 if thing.is_lying else standing)


def draw_scene(rng: np.random.Generator, *, held_out: bool, seconds: float) -> Scene:
    """A scene at random. Whether its event comes about as told is for the simulation to say."""
    event = _pick(EVENTS, rng)
    make = {"drop": _drop, "roll": _roll, "collide": _collide}[event]
    while True:
        direction, things = make(rng, seconds)
        if is_held_out(event, things[0]) == held_out:
            break
    hidden = {thing.colour for thing in things}
    if "white" in hidden:
        hidden.add("checkered")
    return Scene(
        event=event,
        things=things,
        direction=direction,
        floor=_pick([floor for floor in FLOORS if floor not in hidden], rng),
        light=_pick(LIGHTS, rng),
        camera=_pick(CAMERAS, rng),
        seconds=seconds,
    )


def _drop(rng: np.random.Generator, seconds: float) -> tuple[str, tuple[Thing, ...]]:
    """One or two things fall."""
    count = 1 if rng.random() < 0.65 else 2
    centres = [0.0] if count == 1 else [-0.5, 0.5]
    colours = rng.permutation(list(COLOURS))
    things = []
    for centre, colour in zip(centres, colours, strict=False):
        place = centre + rng.uniform(-0.15, 0.15), rng.uniform(-0.3, 0.3), rng.uniform(1.0, 1.45)
        thing = _thing(_pick(SHAPES, rng), str(colour), rng, place)
        things.append(dataclasses.replace(thing, tilt=rng.uniform(0, 0.5)))
    return "down", tuple(things)


def _roll(rng: np.random.Generator, seconds: float) -> tuple[str, tuple[Thing, ...]]:
    """One thing crosses the picture or comes or goes; another may stand behind its way."""
    shape = _pick(("ball", "ball", "cylinder", "cube"), rng)
    colours = rng.permutation(list(COLOURS))
    # A cylinder that comes or goes would have to roll along its axis.
    ways = DIRECTIONS[:2] if shape == "cylinder" else DIRECTIONS
    direction = _pick(ways, rng)
    along = {"right": (1, 0), "left": (-1, 0), "towards": (0, -1), "away": (0, 1)}[direction]
    way = rng.uniform(0.8, 1.0) * 2 * _REACH
    start = -_REACH if direction in ("right", "left") else -0.8
    aside = rng.uniform(-0.4, 0.0)
    place = along[0] * start + (0 if along[0] else aside), along[1] * start + aside * abs(along[0])
    speed = way / seconds
    thing = _thing(shape, str(colours[0]), rng, (*place, 0.0))
    thing = _on_floor(dataclasses.replace(thing, is_lying=shape == "cylinder", yaw=0.0))
    if shape == "cube":  # it slides, and friction slows it
        speed += 0.2 * seconds / 2
    thing = dataclasses.replace(thing, velocity=(along[0] * speed, along[1] * speed, 0.0))
    if direction not in ("right", "left") or rng.random() < 0.6:
        return direction, (thing,)
    behind = rng.uniform(-0.7, 0.7), rng.uniform(0.65, 0.95), 0.0
    other = _on_floor(_thing(_pick(SHAPES[1:3], rng), str(colours[1]), rng, behind))
    return direction, (thing, other)


def _collide(rng: np.random.Generator, seconds: float) -> tuple[str, tuple[Thing, ...]]:
    """One thing runs into another that is at rest."""
    colours = rng.permutation(list(COLOURS))
    direction = _pick(DIRECTIONS[:2], rng)
    sign = 1 if direction == "right" else -1
    depth = rng.uniform(-0.3, 0.1)
    first = _thing(_pick(("ball", "ball", "cube"), rng), str(colours[0]), rng, (0, 0, 0))
    first = dataclasses.replace(first, position=(-sign * _REACH, depth, 0.0), yaw=0.0)
    place = sign * rng.uniform(-0.15, 0.2), depth, 0.0
    other = _on_floor(_thing(_pick(SHAPES, rng), str(colours[1]), rng, place))
    gap = abs(other.position[0] - first.position[0]) - first.radius - other.radius
    speed = gap / (rng.uniform(0.25, 0.4) * seconds)
    if first.shape == "cube":
        speed += 0.1 * seconds / 2
    return direction, (
        _on_floor(dataclasses.replace(first, velocity=(sign * speed, 0.0, 0.0))),
        other,
    )


def _thing(
    shape: str, colour: str, rng: np.random.Generator, position: tuple[float, float, float]
) -> Thing:
    x, y, z = (float(value) for value in position)
    return Thing(
        shape=shape,
        colour=colour,
        size=_pick(tuple(SIZES), rng),
        position=(x, y, z),
        yaw=float(rng.uniform(-0.6, 0.6)),
    )


def _on_floor(thing: Thing) -> Thing:
    x, y, _ = thing.position
    return dataclasses.replace(thing, position=(x, y, half_height(thing) + 0.002))


def _pick[T](options: tuple[T, ...] | list[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
