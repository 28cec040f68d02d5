"""Classical vision for the toy world: what is behind, what stands before it, and its outline."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from sora_jax.data.backdrop import checker, lit_background, lit_thing
from sora_jax.data.scene import (
    COLOURS,
    INK,
    LIGHTS,
    TEXTURE_CELL,
    get_level,
)
from sora_jax.data.shapes import SHAPES, distance

FOREGROUND = 36.0  # distance in RGB from the backdrop, of 441
OUTLIER = 60.0  # a pixel further than this from a backdrop says nothing more about it
CANVAS = 24  # side of the normalised picture of an outline
_SQUARE = np.ones((3, 3), np.uint8)
CANVAS_AREA = 150.0  # its area there, in pixels


@dataclasses.dataclass(frozen=True)
class Backdrop:
    """The background seen in each frame.

    `background` and `light` are indices into the level's vocabulary [T], `shift` (pixels to the
    right) and `zoom` the camera's place [T], `picture` the whole backdrop, float32 T H W 3.
    """

    background: np.ndarray
    light: np.ndarray
    shift: np.ndarray
    zoom: np.ndarray
    picture: np.ndarray


@functools.cache
def _plain_backdrops(level: str, height: int) -> np.ndarray:
    """Every background under every light without texture, (backgrounds * lights) H 3."""
    spec = get_level(level)
    return np.stack(
        [lit_background(name, light, height) for name in spec.backgrounds for light in spec.lights]
    )


@functools.cache
def _cameras(size: int) -> tuple[np.ndarray, ...]:
    """Candidate shifts [K] and zooms [K], their checkers at a quarter, K (H W / 16), squares."""
    reach = TEXTURE_CELL - 1.0
    shifts = np.arange(-reach, reach + 0.25, 0.5)
    zooms = np.arange(1.015, 1.56, 0.015)
    shift = np.concatenate([shifts, np.zeros(len(zooms))])
    zoom = np.concatenate([np.ones(len(shifts)), zooms])
    patterns = _halve(_halve(checker(size, shift, zoom)))
    patterns = patterns.reshape(len(shift), -1)
    return shift, zoom, patterns, patterns**2


def _halve(pictures: np.ndarray) -> np.ndarray:
    """Average 2 x 2 pixels of T H W ...."""
    rows = pictures[:, ::2] + pictures[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def fit_backdrop(video: np.ndarray, level: str) -> Backdrop:
    """Find background, light and camera of each frame of a float32 T H W 3 clip."""
    spec = get_level(level)
    small = _halve(video)
    candidates = _plain_backdrops(level, video.shape[1])
    halved = (candidates[:, ::2] + candidates[:, 1::2]) / 2
    costs = []
    for candidate in halved:
        gap = small - candidate[:, None]
        squared = np.einsum("thwc,thwc->thw", gap, gap)
        costs.append(np.minimum(squared, OUTLIER**2).mean((1, 2)))
    best = np.argmin(costs, axis=0)
    background, light = np.divmod(best, len(spec.lights))
    plain = candidates[best][:, :, None]
    shift, zoom = np.zeros(len(video)), np.ones(len(video))
    picture = np.broadcast_to(plain, video.shape)
    if spec.is_textured:
        shift, zoom = _fit_camera(small - halved[best][:, :, None], spec.size)
        contrast = np.array([LIGHTS[name].contrast for name in spec.lights], np.float32)
        texture = contrast[light][:, None, None] * checker(spec.size, shift, zoom)
        picture = np.clip(plain + texture[..., None], 0, 255)
    return Backdrop(background, light, shift, zoom, _recentre(picture, video))


def _fit_camera(rest: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Find shift and zoom [T] whose checker best explains `rest`, T h w 3 at half size.

    einsum and not @: threads of a BLAS cost more than they bring on matrices as small as these.
    """
    is_behind = np.abs(rest).max(-1) < FOREGROUND
    tone = rest.mean(-1) * is_behind
    shift, zoom, patterns, squares = _cameras(size)
    tone, behind = (
        _halve(values.astype(np.float32)).reshape(len(tone), -1) for values in (tone, is_behind)
    )
    energy = np.einsum("tp,kp->tk", behind, squares)
    match = np.einsum("tp,kp->tk", tone, patterns) / np.sqrt(energy + 1e-6)
    best = np.argmax(match, axis=1)
    return shift[best], zoom[best]


def _recentre(picture: np.ndarray, video: np.ndarray) -> np.ndarray:
    """Take out a small constant difference of colour per frame, as a video codec makes it."""
    gap = (video - picture)[:, ::3, ::3].reshape(len(video), -1, 3)
    near = np.einsum("tpc,tpc->tp", gap, gap) < FOREGROUND**2
    total = np.maximum(near.sum(1), 1)[:, None]
    offset = np.clip((gap * near[..., None]).sum(1) / total, -10, 10)
    return picture + offset[:, None, None]


@dataclasses.dataclass(frozen=True)
class Blob:
    """One connected thing of a frame: its box's corner, its cover in [0, 1] (h w), its pixel area
    and its centre of mass (x, y) in pixels.
    """

    left: int
    top: int
    cover: np.ndarray
    area: float
    centre: tuple[float, float]


def make_blob(left: int, top: int, cover: np.ndarray) -> Blob:
    """Measure a cover whose upper left pixel is (left, top)."""
    moments = cv2.moments(cover)
    area = max(moments["m00"], 1e-6)
    centre = (left + moments["m10"] / area + 0.5, top + moments["m01"] / area + 0.5)
    return Blob(left, top, cover, area, centre)


def find_blobs(gap: np.ndarray) -> list[Blob]:
    """Cut one frame's distances from its backdrop (H W) into connected things, largest first."""
    # Between ink and filling a pixel may have the background's colour: close such seams.
    mask = cv2.morphologyEx((gap > FOREGROUND).astype(np.uint8), cv2.MORPH_CLOSE, _SQUARE)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    blobs = []
    for index in range(1, count):
        left, top, width, height, pixels = stats[index].tolist()
        if pixels < 3:
            continue
        box = (
            slice(max(top - 1, 0), top + height + 1),
            slice(max(left - 1, 0), left + width + 1),
        )
        mine = (labels[box] == index).astype(np.uint8)
        inside = gap[box][mine > 0]
        # Pixels on the edge are mixtures; inside, an outlined object's filling may be the weaker.
        core = gap[box][cv2.erode(mine, _SQUARE) > 0]
        full = _ranked(core, 0.2) if len(core) > 3 else _ranked(inside, 0.6)
        near = cv2.dilate(mine, _SQUARE) > 0
        cover = np.clip(gap[box] / full, 0, 1) * (near & ((labels[box] == 0) | (mine > 0)))
        cover[cover < 0.25] = 0
        blobs.append(make_blob(box[1].start, box[0].start, cover))
    return sorted(blobs, key=lambda blob: -blob.area)


def _ranked(values: np.ndarray, share: float) -> float:
    """Return the value that this share of `values` lies below."""
    rank = int(share * (len(values) - 1))
    return float(np.partition(values, rank)[rank])


def normalise(blob: Blob) -> np.ndarray:
    """Bring an outline to a common centre and area, as a unit vector of CANVAS ** 2 values."""
    x, y = blob.centre
    scale = np.sqrt(CANVAS_AREA / blob.area)
    offset_x = CANVAS / 2 - scale * (x - blob.left)
    offset_y = CANVAS / 2 - scale * (y - blob.top)
    # cv2 puts pixel centres at whole numbers, this file at halves.
    half = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, offset_x + half], [0, scale, offset_y + half]])
    canvas = cv2.warpAffine(blob.cover.astype(np.float32), matrix, (CANVAS, CANVAS))
    return canvas.ravel() / max(float(np.linalg.norm(canvas)), 1e-6)


@dataclasses.dataclass(frozen=True)
class Bank:
    """Normalised outlines of all shapes of a level at all angles.

    `outlines` K (CANVAS ** 2); `shape` [K] the index of the shape; `angle` [K] degrees; `unit_area`
    [shapes] the area in pixels of each shape at radius 1.
    """

    outlines: np.ndarray
    shape: np.ndarray
    angle: np.ndarray
    unit_area: np.ndarray


@functools.cache
def shape_bank(level: str) -> Bank:
    """Draw every shape of the level, every 5 degrees up to its symmetry if shapes can turn."""
    spec = get_level(level)
    outlines, shapes, angles, areas = [], [], [], []
    radius, size = 9.0, 28
    grid = np.arange(size) + 0.5
    middle = np.array([size / 2.0])
    for index, name in enumerate(spec.shapes):
        symmetry = SHAPES[name].symmetry if "rotate" in spec.motions else 0.0
        for angle in np.arange(0, symmetry or 5, 5.0):
            gap = distance(
                name, (grid, grid), (middle, middle), np.array([radius]), np.radians([angle])
            )[0]
            cover = np.clip(0.5 - gap / 1.6, 0, 1)
            blob = make_blob(0, 0, cover)
            outlines.append(normalise(blob))
            shapes.append(index)
            angles.append(angle)
        areas.append(blob.area / radius**2)
    return Bank(
        np.stack(outlines).astype(np.float32), np.array(shapes), np.array(angles), np.array(areas)
    )


def match_shapes(outlines: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Compare normalised outlines T (CANVAS ** 2) with each shape of the level.

    Returns the likeness, T shapes, 1 for the same outline, and the angle in degrees at which each
    shape is most alike, T shapes, between 0 and the shape's symmetry.
    """
    bank = shape_bank(level)
    likeness = np.einsum("tp,kp->tk", outlines, bank.outlines)
    best, angles = [], []
    for index in range(len(bank.unit_area)):
        mine = np.flatnonzero(bank.shape == index)
        scores = likeness[:, mine]
        top = np.argmax(scores, axis=1)
        best.append(scores.max(1))
        angles.append(bank.angle[mine][top] + _between(scores, top) * 5.0)
    return np.stack(best, 1), np.stack(angles, 1)


def _between(scores: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Offset of a parabola's peak through the best score and its cyclic neighbours, [T]."""
    count = scores.shape[1]
    if count < 3:
        return np.zeros(len(scores))
    row = np.arange(len(scores))
    before, here, after = (scores[row, (top + step) % count] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * here + after, -1e-6)
    return np.clip(0.5 * (before - after) / bend, -0.5, 0.5)


@functools.cache
def lit_palette(level: str) -> np.ndarray:
    """Object colours and last the ink, backgrounds lights (colours + 1) 3."""
    spec = get_level(level)
    colours = [COLOURS[name] for name in spec.colours]
    palette = [
        [lit_thing(colour, light) for colour in (*colours, INK[name])]
        for name in spec.backgrounds
        for light in spec.lights
    ]
    return np.reshape(palette, (len(spec.backgrounds), len(spec.lights), -1, 3))
