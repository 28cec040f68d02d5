"""Planted wrong videos: each function draws a scene with one error, or None where it can't."""

import dataclasses

import numpy as np

from data_pipelines.toyworld.render import render
from sora_jax.data.motion import Object, track
from sora_jax.data.scene import Scene, get_level
from sora_jax.data.shapes import SHAPES

DIRECTED = ("left", "right", "up", "down", "grow")


def _with(scene: Scene, index: int, **fields) -> Scene:
    """The scene with fields of one object replaced."""
    items = list(scene.objects)
    items[index] = dataclasses.replace(items[index], **fields)
    return dataclasses.replace(scene, objects=tuple(items))


def _splice(scene: Scene, later: Scene) -> np.ndarray:
    """First half of one clip, second half of another."""
    half = scene.num_frames // 2
    return np.concatenate([render(scene)[:half], render(later)[half:]])


def _other(options: tuple[str, ...], taken: str) -> str:
    return options[(options.index(taken) + 1) % len(options)]


def _free_corner(scene: Scene, radius: float) -> tuple[float, float] | None:
    """A corner where a thing of this radius stays at least 3 pixels from every object."""
    low, high = radius * 1.2 + 1, scene.size - radius * 1.2 - 1
    tracks = [(track(item, scene.num_frames), SHAPES[item.shape].reach) for item in scene.objects]
    for x, y in ((low, low), (high, low), (low, high), (high, high)):
        gaps = [
            (np.hypot(path.x - x, path.y - y) - reach * path.radius - 1.2 * radius).min()
            for path, reach in tracks
        ]
        if min(gaps) > 3:
            return x, y
    return None


def shape_changes(scene: Scene) -> np.ndarray | None:
    """Half-way the first object takes another shape."""
    if scene.change is not None:
        return None
    shape = _other(get_level(scene.level).shapes, scene.objects[0].shape)
    return _splice(scene, _with(scene, 0, shape=shape))


def colour_drifts(scene: Scene) -> np.ndarray | None:
    """The first object slowly turns to another colour."""
    if scene.change is not None:
        return None
    colour = _other(get_level(scene.level).colours, scene.objects[0].colour)
    share = np.linspace(0, 1, scene.num_frames)[:, None, None, None]
    mixed = (1 - share) * render(scene) + share * render(_with(scene, 0, colour=colour))
    return np.rint(mixed).astype(np.uint8)


def duplicated(scene: Scene) -> np.ndarray | None:
    """A second, smaller object of the same looks stands in a corner."""
    return _extra(scene, 0.6 * scene.objects[0].radius, scene.num_frames // 2)


def debris(scene: Scene) -> np.ndarray | None:
    """A crumb of a twentieth of the largest object, or a little more lies about in six frames."""
    radius = track(scene.objects[0], scene.num_frames).radius.max()
    return _extra(scene, 0.22 * radius, 10)


def _extra(scene: Scene, radius: float, start: int) -> np.ndarray | None:
    place = _free_corner(scene, radius)
    if place is None or scene.camera != "still":
        return None
    first = scene.objects[0]
    item = Object(
        shape="square",
        colour=first.colour,
        motion="still",
        speed="none",
        x=place[0],
        y=place[1],
        radius=radius,
    )
    if scene.change is not None:
        scene = dataclasses.replace(scene, change=None)
    more = dataclasses.replace(scene, objects=(*scene.objects, item))
    return np.concatenate([render(scene)[:start], render(more)[start:]])


def motion_stops(scene: Scene) -> np.ndarray | None:
    """Half-way everything stops."""
    if scene.objects[0].motion == "still" or scene.kind != "one":
        return None
    video = render(scene)
    half = len(video) // 2
    return np.concatenate([video[:half], np.repeat(video[half : half + 1], len(video) - half, 0)])


def frozen(scene: Scene) -> np.ndarray | None:
    """Nothing moves."""
    if scene.objects[0].motion == "still" or scene.kind != "one":
        return None
    return np.repeat(render(scene)[:1], scene.num_frames, 0)


def reversed_motion(scene: Scene) -> np.ndarray | None:
    """The clip runs backward."""
    return render(scene)[::-1] if scene.objects[0].motion in DIRECTED else None


def teleports(scene: Scene) -> np.ndarray | None:
    """Half-way the first object jumps by seven pixels."""
    item = scene.objects[0]
    path = track(item, scene.num_frames)
    span = SHAPES[item.shape].reach * path.radius + 1
    if scene.kind != "one":
        return None
    for step_x, step_y in ((7, 0), (-7, 0), (0, 7), (0, -7)):
        x, y = path.x + step_x, path.y + step_y
        if min((x - span).min(), (y - span).min()) >= 0 and (
            max((x + span).max(), (y + span).max()) <= scene.size
        ):
            return _splice(scene, _with(scene, 0, x=item.x + step_x, y=item.y + step_y))
    return None


def wrong_background(scene: Scene) -> np.ndarray:
    """The background is another one."""
    other = _other(get_level(scene.level).backgrounds, scene.background)
    return render(dataclasses.replace(scene, background=other))


def wrong_colour(scene: Scene) -> np.ndarray:
    """The first object has another colour."""
    other = _other(get_level(scene.level).colours, scene.objects[0].colour)
    return render(_with(scene, 0, colour=other))


def wrong_shape(scene: Scene) -> np.ndarray:
    """The first object has another shape."""
    other = _other(get_level(scene.level).shapes, scene.objects[0].shape)
    return render(_with(scene, 0, shape=other))


def background_changes(scene: Scene) -> np.ndarray | None:
    """Half-way the background becomes another one."""
    if scene.change is not None:
        return None
    other = _other(get_level(scene.level).backgrounds, scene.background)
    return _splice(scene, dataclasses.replace(scene, background=other))


def wrong_light(scene: Scene) -> np.ndarray:
    """The light is another one."""
    other = _other(get_level(scene.level).lights, scene.light)
    return render(dataclasses.replace(scene, light=other))


def wrong_style(scene: Scene) -> np.ndarray:
    """The style is another one."""
    other = _other(get_level(scene.level).styles, scene.style)
    return render(dataclasses.replace(scene, style=other))


def wrong_camera(scene: Scene) -> np.ndarray | None:
    """The camera runs backward or stands still."""
    if scene.camera == "still":
        return None
    return render(scene)[::-1] if scene.seed % 2 else np.repeat(render(scene)[:1], 16, 0)


def wrong_speed(scene: Scene) -> np.ndarray | None:
    """The object moves at half or double its rate."""
    item = scene.objects[0]
    if item.speed == "none" or scene.kind != "one":
        return None
    if item.speed == "fast":
        return render(_with(scene, 0, rate=item.rate / 2))
    frames = np.arange(scene.num_frames // 2) * 2
    return render(scene)[frames]


def swapped_looks(scene: Scene) -> np.ndarray | None:
    """Two objects wear each other's colours."""
    if scene.kind != "two":
        return None
    first, second = scene.objects
    return render(_with(_with(scene, 0, colour=second.colour), 1, colour=first.colour))


def swapped_places(scene: Scene) -> np.ndarray | None:
    """Two objects trade shape and colour, so each stands and moves where the other should."""
    if scene.kind != "two":
        return None
    first, second = scene.objects
    scene = _with(scene, 0, colour=second.colour, shape=second.shape)
    return render(_with(scene, 1, colour=first.colour, shape=first.shape))


def swapped_half_way(scene: Scene) -> np.ndarray | None:
    """Two objects trade places in the middle of the clip."""
    swapped = swapped_places(scene)
    if swapped is None:
        return None
    half = scene.num_frames // 2
    return np.concatenate([render(scene)[:half], swapped[half:]])


def swapped_motions(scene: Scene) -> np.ndarray | None:
    """Two objects move as the other should."""
    if scene.kind != "two" or "rotate" in (item.motion for item in scene.objects):
        return None
    first, second = scene.objects
    if first.motion == second.motion:
        return None
    moves = ("motion", "rate", "extent", "angle", "radius")
    one, two = ({name: getattr(item, name) for name in moves} for item in (first, second))
    return render(_with(_with(scene, 0, **two), 1, **one))


def vanishes(scene: Scene) -> np.ndarray:
    """The first object is gone in the last three frames."""
    empty = dataclasses.replace(scene, objects=scene.objects[1:], change=None)
    if scene.change is not None:
        empty = dataclasses.replace(empty, background=scene.change.background)
    return np.concatenate([render(scene)[:-3], render(empty)[-3:]])


def late_change(scene: Scene) -> np.ndarray | None:
    """The cut comes half a second late, or early where late is the end."""
    if scene.change is None:
        return None
    time = scene.change.time + (0.5 if scene.change.time < 1.5 else -0.5)
    return render(dataclasses.replace(scene, change=dataclasses.replace(scene.change, time=time)))


def missing_change(scene: Scene) -> np.ndarray | None:
    """There is no cut."""
    return None if scene.change is None else render(dataclasses.replace(scene, change=None))


SMALL = (
    shape_changes,
    colour_drifts,
    duplicated,
    debris,
    motion_stops,
    frozen,
    reversed_motion,
    teleports,
    wrong_background,
    wrong_colour,
    wrong_shape,
    background_changes,
    vanishes,
)
FULL = (
    *SMALL,
    wrong_light,
    wrong_style,
    wrong_camera,
    wrong_speed,
    swapped_looks,
    swapped_places,
    swapped_half_way,
    swapped_motions,
    late_change,
    missing_change,
)
