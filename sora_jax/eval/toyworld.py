"""The toy world's oracle: what a clip shows, read off its pixels, and whether that was asked for.

Classical vision only, and every frame is looked at.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from sora_jax.data.motion import Object
from sora_jax.data.scene import Scene, get_level, sample_scene
from sora_jax.eval.reading import DEBRIS, Reading, Thing, path_of, read, read_camera
from sora_jax.eval.tracks import fit_motion, read_motion, read_speed

LIKENESS = 0.925  # an outline less like its shape than this is no such shape
LIKENESS_MARGIN = 0.006  # another shape may be this much more alike
PURITY = 0.75  # share of an object's coloured pixels that have its colour
INKED = 0.14  # share of ink in an outlined object
STYLE_NOISE = 0.15  # share of frames in which a thin outline may be lost in grain


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which of the attributes asked for are right; `all` also wants an intact clip.

    `reasons` name what is wrong. `attributes` has the keys that `attribute_keys` gives and
    "integrity": the stated number of objects in every frame and nothing else.
    """

    attributes: dict[str, bool]
    all: bool
    reasons: tuple[str, ...]


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
        _judge_looks(thing, (scene, item), is_after, faults)
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
    is_one_cut = np.all(np.diff(seen.astype(int)) >= 0) and 0 < seen.sum() < len(seen)
    return seen if is_one_cut else expected


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


def _judge_count(reading: Reading, scene: Scene, faults: Faults) -> None:
    number = len(scene.objects)
    wrong = reading.count != number
    if wrong.any():
        fault = f"{reading.count[wrong][0]} objects in {wrong.sum()} frames, not {number}"
        faults["integrity"].append(fault)
        if number == 2:
            faults["objects"].append(fault)
    dirty = reading.debris > 0
    if dirty.sum() > 1 or reading.debris.max() >= 2 * DEBRIS:
        faults["integrity"].append(
            f"debris of {reading.debris.max():.0%} of an object in {dirty.sum()} frames"
        )


def _judge_looks(
    thing: Thing, wanted: tuple[Scene, Object], is_after: np.ndarray, faults: Faults
) -> None:
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
        seen = spec.shapes[thing.likeness[wrong][0].argmax()]
        faults["shape"].append(
            f"{item.shape} is {seen} or vague in {wrong.sum()} frames "
            f"(likeness {likeness.min():.3f})"
        )
    if "objects" in faults and len(faults["colour"]) + len(faults["shape"]) > before:
        faults["objects"].append(f"no {item.colour} {item.shape} at its side in all frames")
    if "style" in faults:
        is_wrong = (thing.ink > INKED) != (scene.style == "outlined")
        if is_wrong.mean() > STYLE_NOISE:
            faults["style"].append(f"ink {np.median(thing.ink):.2f} is not {scene.style}")


def _judge_motion(
    reading: Reading,
    thing: Thing,
    wanted: tuple[Scene, Object],
    is_after: np.ndarray,
    faults: Faults,
) -> None:
    """Judge motion and speed of one object over all frames."""
    scene, item = wanted
    after = scene.change.shape if scene.change else item.shape
    sides = [
        _seen_shape(thing, is_after == late, shape, scene.level)
        for late, shape in ((False, item.shape), (True, after))
    ]
    path = path_of(reading, thing, [sides[late] for late in is_after.astype(int)])
    fit = fit_motion(path, item.motion)
    if fit.fault:
        faults["motion"].append(f"not {item.motion} but {read_motion(path)}: {fit.fault}")
        if item.speed != "none":
            faults["speed"].append(f"unknown without the motion {item.motion}")
    elif item.speed != "none" and read_speed(item.motion, fit.rate) != item.speed:
        faults["speed"].append(f"rate {fit.rate:.3f} is not {item.speed}")


def _seen_shape(thing: Thing, frames: np.ndarray, wanted: str, level: str) -> str:
    """Name the shape of most likeness in these frames [T]: a wrong one is measured as it is."""
    names = get_level(level).shapes
    if not frames.any():
        return wanted
    likeness = thing.likeness[frames].mean(0)
    is_as_good = likeness[names.index(wanted)] >= likeness.max() - LIKENESS_MARGIN
    return wanted if is_as_good else names[int(likeness.argmax())]


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
def chance(level: str, num_scenes: int = 2000) -> dict[str, float]:
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
