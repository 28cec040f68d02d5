"""The toy world's oracle: what a clip shows, read off its pixels, and whether that was asked for.

Classical vision only, and every frame is looked at.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sora_jax.data.scene import Object, Scene, get_level, sample_scene
from sora_jax.data.shapes import SHAPES
from sora_jax.eval.tracks import Path, fit_motion, read_motion, read_speed
from sora_jax.eval.vision import (
    Backdrop,
    Blob,
    find_blobs,
    fit_backdrop,
    lit_palette,
    match_shapes,
    normalise,
    shape_bank,
)

DEBRIS = 0.03  # of the largest thing; anything smaller is grain
THING = 0.2  # of the largest thing; anything larger counts as an object
LIKENESS = 0.945  # an outline less like its shape than this is no such shape
LIKENESS_MARGIN = 0.004  # another shape may be this much more alike
PURITY = 0.8  # share of an object's coloured pixels that have its colour
INKED = 0.14  # share of ink in an outlined object


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object through the clip. NaN in frames where it is missing.

    `x`, `y`, `area` in pixels [T]; `likeness` and `angle` (degrees) to each shape, T shapes;
    `colour` index of the colour [T], `purity` its share of the coloured pixels [T], `ink` the
    share of outline ink [T].
    """

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    likeness: np.ndarray
    angle: np.ndarray
    colour: np.ndarray
    purity: np.ndarray
    ink: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a clip shows. `count` objects [T] and `debris` as a share of the largest one [T].

    `things` are ordered from left to right.
    """

    level: str
    backdrop: Backdrop
    count: np.ndarray
    debris: np.ndarray
    things: tuple[Thing, ...]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which of the attributes asked for are right; `all` also wants an intact clip.

    `reasons` name what is wrong. `attributes` has the keys that `attribute_keys` gives and
    "integrity": the stated number of objects in every frame and nothing else.
    """

    attributes: dict[str, bool]
    all: bool
    reasons: tuple[str, ...]


def read(video: np.ndarray, level: str) -> Reading:
    """Read a uint8 T H W 3 clip of the level's size."""
    size = get_level(level).size
    if video.dtype != np.uint8 or video.shape[1:] != (size, size, 3):
        raise ValueError(
            f"a {video.dtype} clip of shape {video.shape} is not uint8 (T, {size}, {size}, 3): "
            f"level {level} is judged at {size} x {size}"
        )
    pixels = video.astype(np.float32)
    backdrop = fit_backdrop(pixels, level)
    difference = pixels - backdrop.picture
    gap = np.sqrt(np.einsum("thwc,thwc->thw", difference, difference))
    frames = [find_blobs(frame) for frame in gap]
    count, debris = np.zeros(len(video), int), np.zeros(len(video))
    for index, blobs in enumerate(frames):
        sizes = np.array([blob.area for blob in blobs] or [1e-6]) / (blobs or [_NOTHING])[0].area
        count[index] = (sizes > THING).sum() if blobs else 0
        debris[index] = sizes[(sizes >= DEBRIS) & (sizes <= THING)].sum()
    num_things = int(np.clip(np.median(count), 1, 2))
    groups = [sorted(blobs[:num_things], key=lambda b: b.centre[0]) for blobs in frames]
    things = tuple(
        _follow([group[i] if i < len(group) else None for group in groups], pixels, backdrop, level)
        for i in range(num_things)
    )
    return Reading(level, backdrop, count, debris, things)


_NOTHING = Blob(0, 0, np.ones((1, 1)), 1.0)


def _follow(blobs: list[Blob | None], pixels: np.ndarray, backdrop: Backdrop, level: str) -> Thing:
    """Measure one object in every frame."""
    seen = [blob or _NOTHING for blob in blobs]
    is_missing = np.array([blob is None for blob in blobs])
    centres = np.array([blob.centre for blob in seen])
    area = np.array([blob.area for blob in seen])
    likeness, angle = match_shapes(np.stack([normalise(blob) for blob in seen]), level)
    colours = np.stack(
        [
            _weigh_colours(
                blob, pixels[t], lit_palette(level)[backdrop.background[t], backdrop.light[t]]
            )
            for t, blob in enumerate(seen)
        ]
    )
    for values in (centres, area, likeness):
        values[is_missing] = np.nan
    painted = colours[:, :-1]
    total = np.maximum(painted.sum(1), 1e-6)
    return Thing(
        x=centres[:, 0],
        y=centres[:, 1],
        area=area,
        likeness=likeness,
        angle=angle,
        colour=np.where(is_missing, -1, painted.argmax(1)),
        purity=painted.max(1) / total,
        ink=colours[:, -1],
    )


def _weigh_colours(blob: Blob, frame: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Weigh the colours of an object's pixels: shares of each colour and last of ink, sum 1.

    `palette` is row-wise, H (colours + 1) 3, ink last. A pixel is a mixture of ink and one colour:
    the one whose line through ink it lies nearest to.
    """
    rows, columns = np.nonzero(blob.cover > 0.85)
    if not len(rows):
        rows, columns = np.nonzero(blob.cover >= blob.cover.max())
    palette = palette[blob.top + rows]
    ink, lines = palette[:, -1], palette[:, :-1] - palette[:, -1:]
    pixel = frame[blob.top + rows, blob.left + columns] - ink
    lengths = np.einsum("pkc,pkc->pk", lines, lines)
    part = np.clip(np.einsum("pc,pkc->pk", pixel, lines) / lengths, 0, 1)
    rest = pixel[:, None] - part[..., None] * lines
    nearest = np.einsum("pkc,pkc->pk", rest, rest).argmin(1)
    part = part[np.arange(len(part)), nearest]
    # Dark mixtures of all colours look alike: only clear pixels have a say on the colour.
    weights = np.bincount(nearest, weights=part * (part > 0.6), minlength=palette.shape[1])
    weights[-1] = (1 - part).sum()
    return weights / len(part)


def path_of(reading: Reading, thing: Thing, shapes: list[str]) -> Path:
    """Undo the camera and the shapes' areas: where a thing of these shapes [T] is in the world."""
    spec, bank = get_level(reading.level), shape_bank(reading.level)
    index = np.array([spec.shapes.index(shape) for shape in shapes])
    shift, zoom = reading.backdrop.shift, reading.backdrop.zoom
    middle = spec.size / 2
    return Path(
        x=middle + (thing.x - middle - shift) / zoom,
        y=middle + (thing.y - middle) / zoom,
        radius=np.sqrt(thing.area / bank.unit_area[index]) / zoom,
        turn=_unwrap_turn(thing, shapes, spec.shapes),
        can_turn=all(SHAPES[shape].symmetry > 0 for shape in shapes),
    )


def _unwrap_turn(thing: Thing, shapes: list[str], names: tuple[str, ...]) -> np.ndarray:
    """Follow the angle of a thing [T] in degrees beyond its symmetry, also over a cut."""
    turn = np.zeros(len(shapes))
    start = 0
    for stop in range(1, len(shapes) + 1):
        if stop < len(shapes) and shapes[stop] == shapes[start]:
            continue
        period = SHAPES[shapes[start]].symmetry
        if period:
            angle = thing.angle[start:stop, names.index(shapes[start])]
            angle = np.unwrap((angle + period / 2) % period - period / 2, period=period)
            if start > 1:
                expected = 2 * turn[start - 1] - turn[start - 2]
                angle = angle + period * np.round((expected - angle[0]) / period)
            turn[start:stop] = angle
        start = stop
    return turn


def attribute_keys(scene: Scene) -> tuple[str, ...]:
    """Name the attributes that a scene decides, in the order of reports."""
    keys = ["colour", "shape", "motion", "background"]
    if scene.level == "full":
        keys += ["speed"] if any(item.speed != "none" for item in scene.objects) else []
        keys += ["camera", "light", "style"]
        keys += ["objects"] if scene.kind == "two" else []
        keys += ["change"] if scene.kind == "change" else []
    return tuple(keys)


def judge(video: np.ndarray, scene: Scene, *, first_frame: int = 0) -> Verdict:
    """Compare a uint8 T H W 3 clip with the scene that was asked for.

    The clip's frame i is the scene's frame `first_frame` + i; only the time of a change depends on
    it, so any stretch of at least 4 frames can be judged, also beyond the scene's own length.
    """
    reading = read(video, scene.level)
    faults: dict[str, list[str]] = {key: [] for key in (*attribute_keys(scene), "integrity")}
    is_after = _see_change(reading, scene, first_frame, faults)
    _judge_backdrop(reading, scene, is_after, faults)
    _judge_count(reading, scene, faults)
    for index, item in enumerate(scene.objects):
        thing = reading.things[min(index, len(reading.things) - 1)]
        _judge_looks(reading, thing, (scene, item), is_after, faults)
        _judge_motion(reading, thing, (scene, item), is_after, faults)
    attributes = {key: not found for key, found in faults.items()}
    reasons = tuple(f"{key}: {fault}" for key, found in faults.items() for fault in found)
    return Verdict(attributes, not reasons, reasons)


def judge_tail(video: np.ndarray, scene: Scene, start_frame: int) -> Verdict:
    """Judge frames [start_frame:] of a clip alone, for clips whose first frames were given."""
    return judge(video[start_frame:], scene, first_frame=start_frame)


Faults = dict[str, list[str]]


def _see_change(reading: Reading, scene: Scene, first_frame: int, faults: Faults) -> np.ndarray:
    """Find the frames after the cut, [T] bool: by what is seen, or by the scene if unclear."""
    frame = first_frame + np.arange(len(reading.count))
    expected = frame >= scene.cut_frame
    if scene.change is None:
        return expected
    names = get_level(scene.level).backgrounds
    seen = reading.backdrop.background == names.index(scene.change.background)
    if not np.array_equal(seen, expected):
        start = frame[seen][0] / scene.fps if seen.any() else float("nan")
        faults["change"].append(f"seen at {start:.2f} s, not {scene.change.time:.2f} s")
    # A single clear cut elsewhere is one fault, not a fault of every attribute.
    return (
        seen if np.all(np.diff(seen.astype(int)) >= 0) and 0 < seen.sum() < len(seen) else expected
    )


def _judge_backdrop(reading: Reading, scene: Scene, is_after: np.ndarray, faults: Faults) -> None:
    spec, backdrop = get_level(scene.level), reading.backdrop
    after = scene.change.background if scene.change else scene.background
    wanted = np.where(
        is_after, spec.backgrounds.index(after), spec.backgrounds.index(scene.background)
    )
    wrong = backdrop.background != wanted
    if wrong.any():
        seen = spec.backgrounds[backdrop.background[wrong][0]]
        faults["background"].append(f"{seen} in {wrong.sum()} frames")
    if "light" not in faults:
        return
    wrong = backdrop.light != spec.lights.index(scene.light)
    if wrong.any():
        seen = spec.lights[backdrop.light[wrong][0]]
        faults["light"].append(f"{seen} in {wrong.sum()} frames")
    seen = read_camera(reading)
    if seen != scene.camera:
        faults["camera"].append(f"{seen}, not {scene.camera}")


def read_camera(reading: Reading) -> str:
    """Name the camera's motion by the texture's shift and zoom in all frames, or "unclear"."""
    shift, zoom = reading.backdrop.shift, np.log(reading.backdrop.zoom)
    if np.ptp(shift) <= 1.5 and np.ptp(zoom) <= 0.05:
        return "still"
    frame = np.arange(len(shift))
    (pan, grow), (pan_start, grow_start) = np.polyfit(frame, np.stack([shift, zoom], 1), 1)
    is_even = (
        np.abs(shift - pan_start - pan * frame).max() < 1.6
        and np.abs(zoom - grow_start - grow * frame).max() < 0.05
    )
    if is_even and 0.45 < abs(pan) < 1.5 and np.ptp(zoom) < 0.08:
        return "pan left" if pan > 0 else "pan right"
    if is_even and 0.012 < abs(grow) < 0.045 and np.ptp(shift) <= 1.5:
        return "zoom in" if grow > 0 else "zoom out"
    return "unclear"


def _judge_count(reading: Reading, scene: Scene, faults: Faults) -> None:
    number = len(scene.objects)
    wrong = reading.count != number
    if wrong.any():
        fault = f"{reading.count[wrong][0]} objects in {wrong.sum()} frames, not {number}"
        faults["integrity"].append(fault)
        if number == 2:
            faults["objects"].append(fault)
    dirty = reading.debris > 0
    if dirty.any():
        faults["integrity"].append(
            f"debris of {reading.debris.max():.0%} of an object in {dirty.sum()} frames"
        )


def _judge_looks(reading: Reading, thing: Thing, wanted, is_after, faults: Faults) -> None:
    """Judge colour, shape and style of one object in every frame."""
    scene, item = wanted
    spec = get_level(scene.level)
    change = scene.change
    colour = np.where(
        is_after,
        spec.colours.index(change.colour if change else item.colour),
        spec.colours.index(item.colour),
    )
    wrong = (thing.colour != colour) | (thing.purity < PURITY)
    before = len(faults["colour"]) + len(faults["shape"])
    if wrong.any():
        seen = spec.colours[thing.colour[wrong][0]]
        faults["colour"].append(f"{item.colour} is {seen} or mixed in {wrong.sum()} frames")
    shape = np.where(
        is_after,
        spec.shapes.index(change.shape if change else item.shape),
        spec.shapes.index(item.shape),
    )
    likeness = thing.likeness[np.arange(len(shape)), shape]
    wrong = ~((likeness >= LIKENESS) & (likeness >= thing.likeness.max(1) - LIKENESS_MARGIN))
    if wrong.any():
        seen = spec.shapes[np.nan_to_num(thing.likeness)[wrong][0].argmax()]
        faults["shape"].append(
            f"{item.shape} is {seen} or vague in {wrong.sum()} frames "
            f"(likeness {np.nanmin(likeness):.3f})"
        )
    if "objects" in faults and len(faults["colour"]) + len(faults["shape"]) > before:
        faults["objects"].append(f"no {item.colour} {item.shape} at its side in all frames")
    if "style" in faults:
        is_inked = thing.ink > INKED
        if not np.array_equal(is_inked, np.full(len(is_inked), scene.style == "outlined")):
            faults["style"].append(f"ink {np.median(thing.ink):.2f} is not {scene.style}")


def _judge_motion(reading: Reading, thing: Thing, wanted, is_after, faults: Faults) -> None:
    """Judge motion and speed of one object over all frames."""
    scene, item = wanted
    after = scene.change.shape if scene.change else item.shape
    shapes = [after if late else item.shape for late in is_after]
    path = path_of(reading, thing, shapes)
    fit = fit_motion(path, item.motion)
    if fit.fault:
        faults["motion"].append(f"not {item.motion} but {read_motion(path)}: {fit.fault}")
        if item.speed != "none":
            faults["speed"].append(f"unknown without the motion {item.motion}")
    elif item.speed != "none" and read_speed(item.motion, fit.rate) != item.speed:
        faults["speed"].append(f"rate {fit.rate:.3f} is not {item.speed}")


def _answers(scene: Scene) -> dict[str, object]:
    """Give what a scene says of each attribute, comparable between scenes."""
    item, change = scene.objects, scene.change
    values = {
        "colour": ([o.colour for o in item], change and change.colour),
        "shape": ([o.shape for o in item], change and change.shape),
        "motion": [o.motion for o in item],
        "background": (scene.background, change and change.background),
        "speed": [o.speed for o in item],
        "camera": scene.camera,
        "light": scene.light,
        "style": scene.style,
        "objects": [(o.colour, o.shape) for o in item],
        "change": change and change.time,
    }
    return {key: repr(values[key]) for key in attribute_keys(scene)}


@functools.cache
def chance(level: str, num_scenes: int = 3000) -> dict[str, float]:
    """Estimate how often a clip of one random scene is right for another, by attribute.

    An attribute is counted over the scenes that decide it; "all" wants every one of them.
    """
    scenes = [sample_scene(level, 1_000_000 + i) for i in range(num_scenes)]
    answers = [{**_answers(s), "all": repr(_answers(s))} for s in scenes]
    result: dict[str, float] = {}
    for key in dict.fromkeys(key for answer in answers for key in answer):
        values, counts = np.unique([a[key] for a in answers if key in a], return_counts=True)
        decided = counts.sum()
        pairs = float((counts * (counts - 1)).sum())
        result[key] = float(pairs / (decided * (num_scenes - 1)))
    return result


def nearest_train(video: np.ndarray, train_videos: np.ndarray) -> int:
    """Return the index of the training clip (N T H W 3) with the least squared distance."""
    return int(np.argmin(_distances(video, train_videos)))


def copy_score(video: np.ndarray, train_videos: np.ndarray) -> float:
    """Return the root mean square difference, in pixel values, to the nearest training clip."""
    return float(np.sqrt(_distances(video, train_videos).min() / video.size))


def _distances(video: np.ndarray, train_videos: np.ndarray) -> np.ndarray:
    """Squared distances [N], by chunks so that no float copy of all clips is made."""
    flat = video.reshape(-1).astype(np.float32)
    totals = []
    for start in range(0, len(train_videos), 256):
        chunk = train_videos[start : start + 256].reshape(-1, flat.size).astype(np.float32)
        totals.append(np.einsum("np,np->n", chunk - flat, chunk - flat))
    return np.concatenate(totals)


__all__ = [
    "Object",
    "Reading",
    "Thing",
    "Verdict",
    "attribute_keys",
    "chance",
    "copy_score",
    "judge",
    "judge_tail",
    "nearest_train",
    "path_of",
    "read",
    "read_camera",
]
