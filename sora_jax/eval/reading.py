"""A toy world clip as it looks, frame by frame: how many things, where, which shape and colour."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from sora_jax.data.scene import get_level
from sora_jax.data.shapes import SHAPES
from sora_jax.eval.tracks import Path
from sora_jax.eval.vision import (
    Backdrop,
    Blob,
    find_blobs,
    fit_backdrop,
    lit_palette,
    make_blob,
    match_shapes,
    normalise,
    shape_bank,
)

DEBRIS = 0.03  # of the largest thing; anything smaller is grain
THING = 0.2  # of the largest thing; anything larger counts as an object


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object through the clip.

    `x`, `y`, `area` in pixels [T], NaN in frames where it is missing; `likeness` to each shape (0
    where missing) and the `angle` (degrees) at which it is most alike, T shapes; `colour` index of
    the colour [T], `purity` its share of the coloured pixels [T], `ink` the share of outline ink
    [T].
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


def read(video: np.ndarray, level: str) -> Reading:
    """Read a uint8 T H W 3 clip of the level's size, or of any even one if it has no texture."""
    spec = get_level(level)
    size = spec.size
    is_free = video.ndim == 4 and not spec.is_textured and not any(n % 2 for n in video.shape[1:3])
    wanted = (*video.shape[1:3], 3) if is_free else (size, size, 3)
    if video.dtype != np.uint8 or video.shape[1:] != wanted:
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


_NOTHING = make_blob(0, 0, np.ones((1, 1)))


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
    centres[is_missing], area[is_missing], likeness[is_missing] = np.nan, np.nan, 0.0
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

    `palette` is (colours + 1) 3, ink last. A pixel is a mixture of ink and one colour: the one
    whose line through ink it lies nearest to.
    """
    rows, columns = np.nonzero(blob.cover > 0.75)
    if not len(rows):
        rows, columns = np.nonzero(blob.cover >= blob.cover.max())
    lines = palette[:-1] - palette[-1]
    pixel = frame[blob.top + rows, blob.left + columns] - palette[-1]
    lengths = np.einsum("kc,kc->k", lines, lines)
    part = np.clip(np.einsum("pc,kc->pk", pixel, lines) / lengths, 0, 1)
    rest = pixel[:, None] - part[..., None] * lines
    nearest = np.einsum("pkc,pkc->pk", rest, rest).argmin(1)
    part = part[np.arange(len(part)), nearest]
    # Mixtures with ink or with the background look alike: only clear pixels inside have a say.
    inside = cv2.erode((blob.cover > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8))
    clear = part * (part > 0.6)
    inner = clear * inside[rows, columns]
    say = inner if np.count_nonzero(inner) > 3 else clear
    weights = np.bincount(nearest, weights=say, minlength=len(palette))
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
