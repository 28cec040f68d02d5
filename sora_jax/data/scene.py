"""The toy world's vocabulary and scenes: what can be in a clip, drawn from a seed."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np

from sora_jax.data.motion import Object, camera_path, track
from sora_jax.data.shapes import SHAPES
from sora_jax.errors import UsageError

Look = tuple[str, str, str]  # shape, colour, motion

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (228, 32, 32),
    "green": (30, 165, 55),
    "blue": (36, 60, 230),
    "yellow": (248, 222, 24),
    "purple": (185, 45, 205),
    "cyan": (20, 205, 215),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (234, 234, 234),
    "black": (32, 32, 34),
    "gray": (122, 122, 122),
    "pink": (228, 168, 180),
}
# The outline of the `outlined` style: dark on light backgrounds, light on the others.
INK: dict[str, tuple[int, int, int]] = {
    "white": (20, 20, 24),
    "black": (240, 240, 240),
    "gray": (240, 240, 240),
    "pink": (20, 20, 24),
}


@dataclasses.dataclass(frozen=True)
class Light:
    """How a light colours a picture, in gains of RGB and pixel values.

    A background becomes colour * gain + `glow`, its gain going from `top` to `bottom` of the
    picture, with a texture of `contrast` above and below. An object becomes colour * `things`: it
    keeps its hue, so that a stranger can still name its colour at night.
    """

    top: tuple[float, float, float]
    bottom: tuple[float, float, float]
    glow: tuple[float, float, float]
    contrast: float
    things: tuple[float, float, float]


LIGHTS: dict[str, Light] = {
    "day": Light((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 18.0, (1.0, 1.0, 1.0)),
    "dusk": Light((1.0, 0.62, 0.54), (0.92, 0.76, 0.68), (34.0, 8.0, 0.0), 16.0, (1.0, 0.88, 0.80)),
    "night": Light(
        (0.30, 0.36, 0.56), (0.30, 0.36, 0.56), (0.0, 4.0, 28.0), 12.0, (0.74, 0.78, 0.84)
    ),
}
TEXTURE_CELL = 16  # pixels; the side of a soft checker cell on textured backgrounds


@dataclasses.dataclass(frozen=True)
class Level:
    """One difficulty of the world. `kinds` gives the share of each kind of scene."""

    size: int
    num_frames: int
    fps: int
    shapes: tuple[str, ...]
    motions: tuple[str, ...]
    lights: tuple[str, ...]
    styles: tuple[str, ...]
    cameras: tuple[str, ...]
    kinds: dict[str, float]
    is_textured: bool
    colours: tuple[str, ...] = tuple(COLOURS)
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)


LEVELS: dict[str, Level] = {
    "small": Level(
        size=32,
        num_frames=16,
        fps=8,
        shapes=("circle", "square", "triangle", "cross"),
        motions=("left", "right", "up", "down", "still", "grow"),
        lights=("day",),
        styles=("flat",),
        cameras=("still",),
        kinds={"one": 1.0},
        is_textured=False,
    ),
    "full": Level(
        size=64,
        num_frames=16,
        fps=8,
        shapes=tuple(SHAPES),
        motions=("left", "right", "up", "down", "still", "grow", "orbit", "bounce", "rotate"),
        lights=tuple(LIGHTS),
        styles=("flat", "outlined"),
        cameras=("still", "pan left", "pan right", "zoom in", "zoom out"),
        kinds={"one": 0.5, "two": 0.2, "camera": 0.15, "change": 0.15},
        is_textured=True,
    ),
}
# Motion rates by (motion, speed), in the units of `motion.Object.rate`.
_LINEAR = {"slow": (0.9, 1.1), "fast": (1.8, 2.1)}
RATES: dict[str, dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("left", "right", "up", "down"), _LINEAR),
    "grow": {"slow": (0.024, 0.028), "fast": (0.046, 0.050)},
    "orbit": {"slow": (0.21, 0.24), "fast": (0.40, 0.43)},
    "bounce": {"slow": (0.064, 0.069), "fast": (0.128, 0.138)},
    "rotate": {"slow": (0.075, 0.090), "fast": (0.160, 0.175)},
}
SMALL_LINEAR = (0.62, 0.85)
MARGIN = 1.0  # pixels between an object and the edge of the picture
MIDDLE_MARGIN = 2.5  # pixels between each of two objects and the middle
TWO_LINEAR = (0.62, 0.78)  # sideways, inside half of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A cut at `time` seconds: the object and the background take these looks and move on."""

    time: float
    shape: str
    colour: str
    background: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a clip shows. Two objects stand left and right, in this order."""

    level: str
    objects: tuple[Object, ...]
    background: str
    light: str = "day"
    style: str = "flat"
    camera: str = "still"
    change: Change | None = None
    seed: int = 0
    num_frames: int = 16
    size: int = 32
    fps: int = 8

    @property
    def kind(self) -> str:
        """Say which of "one", "two", "camera", "change" this scene is."""
        if len(self.objects) == 2:
            return "two"
        if self.change is not None:
            return "change"
        return "one" if self.camera == "still" else "camera"

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / self.fps

    @property
    def cut_frame(self) -> int:
        """First frame after the change; `num_frames` in a scene without one."""
        return self.num_frames if self.change is None else round(self.change.time * self.fps)

    def to_json(self) -> str:
        """Write the scene as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Scene:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        fields["objects"] = tuple(Object(**item) for item in fields["objects"])
        fields["change"] = None if fields["change"] is None else Change(**fields["change"])
        return Scene(**fields)


def get_level(name: str) -> Level:
    """Return the level called `name`; UsageError with the known names if there is none."""
    if name not in LEVELS:
        raise UsageError(f"unknown toy world level {name!r}: choose one of {', '.join(LEVELS)}")
    return LEVELS[name]


def find_level(size: tuple[int, int], num_frames: int, fps: float) -> str:
    """Name of the level whose clips have this geometry; UsageError if there is none."""
    for name, level in LEVELS.items():
        if (level.size, level.size, level.num_frames, level.fps) == (*size, num_frames, fps):
            return name
    known = ", ".join(
        f"{level.num_frames} of {level.size}x{level.size} at {level.fps} ({name})"
        for name, level in LEVELS.items()
    )
    raise UsageError(
        f"no level of the toy world has clips of {num_frames} frames of {size[1]}x{size[0]} at"
        f" {fps:g} frames/s; it has {known}"
    )


def is_heldout(level: str, shape: str, colour: str, motion: str) -> bool:
    """Say whether training never sees this triple: one cell in five of a Latin square."""
    spec = get_level(level)
    place = spec.shapes.index(shape) + spec.colours.index(colour) + spec.motions.index(motion)
    return place % 5 == 0


@functools.cache
def triples(level: str, split: str) -> tuple[Look, ...]:
    """List all (shape, colour, motion) of a split; `rotate` only where a turn can be seen."""
    spec = get_level(level)
    return tuple(
        (shape, colour, motion)
        for motion in spec.motions
        for shape in spec.shapes
        for colour in spec.colours
        if (motion != "rotate" or SHAPES[shape].symmetry)
        and is_heldout(level, shape, colour, motion) == (split == "heldout")
    )


def sample_scene(level: str, seed: int, *, split: str = "train", kind: str | None = None) -> Scene:
    """Draw a scene, determined by the arguments alone.

    Every object's (shape, colour, motion), before and after a change, belongs to `split`. `kind`
    is drawn by the level's shares unless given.
    """
    spec = get_level(level)
    if split not in ("train", "heldout"):
        raise UsageError(f"unknown split {split!r}: choose train or heldout")
    if kind is not None and kind not in spec.kinds:
        raise UsageError(
            f"level {level} has no kind {kind!r}: choose one of {', '.join(spec.kinds)}"
        )
    rng = np.random.default_rng([list(LEVELS).index(level), split == "heldout", seed])
    kind = kind or str(rng.choice(list(spec.kinds), p=list(spec.kinds.values())))
    camera = str(rng.choice(spec.cameras[1:])) if kind == "camera" else "still"
    background = str(rng.choice(spec.backgrounds))
    looks = _draw_looks(level, split, kind, rng)
    change = None
    if kind == "change":
        change = _draw_change(level, split, looks[0], background, rng)
    middle, end = spec.size / 2, spec.size - MARGIN
    lanes = [(MARGIN, end)]
    if kind == "two":
        lanes = [(MARGIN, middle - MIDDLE_MARGIN), (middle + MIDDLE_MARGIN, end)]
    objects = tuple(
        _place(level, look, lane, camera, change, rng)
        for look, lane in zip(looks, lanes, strict=True)
    )
    return Scene(
        level=level,
        objects=objects,
        background=background,
        light=str(rng.choice(spec.lights)),
        style=str(rng.choice(spec.styles)),
        camera=camera,
        change=change,
        seed=seed,
        num_frames=spec.num_frames,
        size=spec.size,
        fps=spec.fps,
    )


def _draw_looks(level: str, split: str, kind: str, rng: np.random.Generator) -> list[Look]:
    """Draw one or two (shape, colour, motion); two differ in shape and in colour."""
    motions = {
        "camera": ("still",),
        "two": tuple(m for m in get_level(level).motions if m != "orbit"),
    }.get(kind, get_level(level).motions)
    looks: list[Look] = []
    while len(looks) < (2 if kind == "two" else 1):
        motion = str(rng.choice(motions))
        free = [
            look
            for look in triples(level, split)
            if look[2] == motion
            and all(look[0] != other[0] and look[1] != other[1] for other in looks)
        ]
        if free:
            looks.append(free[rng.integers(len(free))])
    return looks


def _draw_change(
    level: str, split: str, look: Look, background: str, rng: np.random.Generator
) -> Change:
    """Draw a cut on a half second to another shape, colour and background, same motion."""
    spec = get_level(level)
    shape, colour, motion = look
    free = [
        (s, c) for s, c, m in triples(level, split) if m == motion and s != shape and c != colour
    ]
    next_shape, next_colour = free[rng.integers(len(free))]
    half_seconds = round(2 * spec.num_frames / spec.fps)
    return Change(
        time=float(rng.integers(1, half_seconds)) / 2,
        shape=next_shape,
        colour=next_colour,
        background=str(rng.choice([b for b in spec.backgrounds if b != background])),
    )


def _draw_size(level: str, motion: str, camera: str, is_alone: bool) -> tuple[float, float]:
    """Give the range of the radius at frame 0 in pixels."""
    if level == "small":
        return (6.0, 7.0) if motion == "grow" else (6.0, 8.0)
    if not is_alone:
        return (6.5, 7.0) if motion == "grow" else (7.7, 8.6)
    if camera.startswith("zoom"):
        return (8.5, 10.0)
    return {"grow": (8.5, 10.0), "orbit": (9.0, 10.5)}.get(motion, (10.0, 12.0))


def _draw_rate(
    level: str, motion: str, is_alone: bool, rng: np.random.Generator
) -> tuple[str, float, float]:
    """Draw a speed word and the range of rates it stands for."""
    if motion not in RATES:
        return "none", 0.0, 0.0
    if level == "small":
        return ("none", *(RATES["grow"]["slow"] if motion == "grow" else SMALL_LINEAR))
    speed = str(rng.choice(("slow", "fast"))) if is_alone else "slow"
    if not is_alone and motion in ("left", "right"):
        return (speed, *TWO_LINEAR)
    return (speed, *RATES[motion][speed])


def _place(
    level: str,
    look: Look,
    lane: tuple[float, float],
    camera: str,
    change: Change | None,
    rng: np.random.Generator,
) -> Object:
    """Draw size, rate and start of one object so that it stays inside its lane in all frames."""
    shape, colour, motion = look
    spec = get_level(level)
    is_alone = lane[1] - lane[0] > spec.size / 2
    speed, low_rate, high_rate = _draw_rate(level, motion, is_alone, rng)
    reach = max(SHAPES[s].reach for s in (shape, change.shape if change else shape))
    while True:  # Few draws do not fit: a large object on a long way.
        item = Object(
            shape=shape,
            colour=colour,
            motion=motion,
            speed=speed,
            x=0.0,
            y=0.0,
            radius=round(rng.uniform(*_draw_size(level, motion, camera, is_alone)), 2),
            rate=round(rng.uniform(low_rate, high_rate), 4),
            extent={"orbit": 12.0, "bounce": 22.0}.get(motion, 0.0),
            angle=round(rng.uniform(0, 2 * np.pi), 3) if motion == "orbit" else 0.0,
        )
        room = _find_room(item, spec, lane, camera, reach)
        if all(low <= high for low, high in room):
            x, y = (round(rng.uniform(low, high), 2) for low, high in room)
            return dataclasses.replace(item, x=x, y=y)


def _find_room(
    item: Object, spec: Level, lane: tuple[float, float], camera: str, reach: float
) -> list[tuple[float, float]]:
    """Give the lowest and highest start, x and y, that keep an object (at 0, 0) inside its lane."""
    path = track(item, spec.num_frames)
    shift, zoom = camera_path(camera, spec.num_frames)
    span, middle = reach * path.radius, spec.size / 2
    whole = (MARGIN, spec.size - MARGIN)
    return [
        (
            float(np.max(middle + (low - moved - middle) / zoom + span - place)),
            float(np.min(middle + (high - moved - middle) / zoom - span - place)),
        )
        for place, (low, high), moved in ((path.x, lane, shift), (path.y, whole, 0.0))
    ]
