"""What a picture or a clip is like, in figures: palette, texture, depth, shots and motion."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.post import stabilise
from sora_jax.post.shots import Frame, is_cut
from sora_jax.post.view import MOVES

NAMED = {  # sRGB
    "black": (0, 0, 0),
    "dark gray": (64, 64, 64),
    "gray": (128, 128, 128),
    "light gray": (192, 192, 192),
    "white": (255, 255, 255),
    "red": (225, 30, 35),
    "orange": (255, 140, 0),
    "brown": (120, 72, 30),
    "yellow": (250, 225, 40),
    "green": (40, 160, 60),
    "dark green": (15, 75, 30),
    "cyan": (30, 205, 215),
    "blue": (35, 65, 225),
    "sky blue": (135, 190, 235),
    "purple": (150, 45, 190),
    "pink": (240, 160, 185),
    "beige": (235, 215, 180),
}
COLOURS = 6  # at most, of a palette
_ALIKE = 14.0  # distance in Lab below which two colours are one
_SAMPLES, _SIDE = 20_000, 192
_FEW = 0.01  # share below which a colour is left out
_STILL = 0.03  # sides of the picture that the camera crosses in a whole shot: below it, none


def palette(frames: Iterable[Frame]) -> list[dict[str, Any]]:
    """The colours of pictures, most common first: share, hex and the nearest name.

    k-means in CIE Lab; clusters that look alike are one.
    """
    pixels = np.concatenate([_small(frame).reshape(-1, 3) for frame in frames])
    pixels = pixels[:: max(1, len(pixels) // _SAMPLES)]
    lab = _lab(pixels)
    count = min(COLOURS, len(np.unique(pixels, axis=0)))
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
    _, labels, centres = cv2.kmeans(lab, count, None, stop, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    shares = np.bincount(labels.ravel(), minlength=count) / len(lab)
    found: list[tuple[float, NDArray]] = []
    for number in np.argsort(-shares):
        for i, (share, centre) in enumerate(found):
            if np.linalg.norm(centre - centres[number]) < _ALIKE:
                found[i] = share + shares[number], centre
                break
        else:
            found.append((shares[number], centres[number]))
    return [
        {"share": round(float(share), 3), "hex": _hex(centre), "name": _name(centre)}
        for share, centre in sorted(found, key=lambda pair: -pair[0])
        if share >= _FEW
    ]


def texture(frame: Frame) -> dict[str, Any]:
    """How rough a picture is (mean slope, of 255 a pixel), and whether in fine or coarse grain."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    coarse = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    fine_slope, coarse_slope = _slope(grey), _slope(coarse)
    if fine_slope < 1.0 and coarse_slope < 2.0:
        kind = "smooth"
    else:
        kind = "fine" if fine_slope > 0.6 * coarse_slope else "coarse"
    return {"roughness": round(fine_slope, 2), "kind": kind}


def depth(frame: Frame) -> dict[str, Any]:
    """Cues of depth: where straight lines meet (shares of width and height), and what is sharp.

    The vanishing point is null where fewer than six lines agree.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    slopes = np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F))
    parts = [float(part.mean()) for part in np.array_split(slopes, 3, axis=0)]
    names = ("top", "middle", "bottom")
    return {
        "vanishing_point": _vanishing_point(grey),
        "sharpest": names[int(np.argmax(parts))] if max(parts) > 1.5 * min(parts) + 0.1 else "even",
    }


@dataclasses.dataclass
class Shot:
    """A stretch without a cut, and how things go in it."""

    first: int
    last: int
    path: NDArray[np.float64]  # right, down (sides), log scale, turn of the camera's picture
    moved: int = 0  # steps in which the camera did
    motion: float = 0.0  # sum of mean motions in shares of the side
    middle: Frame | None = None

    def told(self, fps: float) -> dict[str, Any]:
        # A camera that moves does so all the time: now and then, it was grain.
        moves = 2 * self.moved >= self.last - self.first
        seconds = (self.last - self.first + 1) / fps
        return {
            "start": round(self.first / fps, 3),
            "end": round((self.last + 1) / fps, 3),
            "camera": camera_move(self.path) if moves else MOVES[0],
            "motion": round(self.motion / seconds, 4),  # sides a second
        }


def shots(frames: Iterable[Frame]) -> list[Shot]:
    """The shots of a clip, in constant memory."""
    found: list[Shot] = []
    before: Frame | None = None
    for number, frame in enumerate(map(_small, frames)):
        if before is None or is_cut(before, frame):
            found.append(Shot(number, number, np.zeros(4), middle=frame))
        else:
            shot = found[-1]
            shot.last = number
            step = stabilise.camera_step(before, frame)
            shot.path, shot.moved = shot.path + step, shot.moved + bool(step.any())
            shot.motion += _motion(before, frame)
        before = frame
    return found


def camera_move(path: NDArray[np.float64]) -> str:
    """The name of what the camera does, by how the picture goes: right, down, log scale, turn.

    It is one of view.MOVES: the largest of its parts, if that is enough.
    """
    right, down, scale, _ = path
    # A zoom moves the edges by half a side times the scale.
    parts = np.array([right, -right, down, -down, scale / 2, -scale / 2])
    return MOVES[1 + int(parts.argmax())] if parts.max() > _STILL else MOVES[0]


def _small(frame: Frame) -> Frame:
    factor = _SIDE / max(frame.shape[:2])
    if factor >= 1:
        return frame
    size = max(1, round(frame.shape[1] * factor)), max(1, round(frame.shape[0] * factor))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _motion(before: Frame, frame: Frame) -> float:
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, frame)]
    if min(grey[0].shape) < 16:
        return 0.0
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(*grey, None)  # type: ignore[call-overload]
    return float(np.linalg.norm(flow, axis=-1).mean() / max(grey[0].shape))


def _slope(grey: NDArray) -> float:
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2


def _vanishing_point(grey: NDArray[np.uint8]) -> list[float] | None:
    height, width = grey.shape
    edges = cv2.Canny(grey, 60, 160)
    least = max(8, min(height, width) // 6)
    lines = cv2.HoughLinesP(edges, 1, np.pi / 360, least, minLineLength=least, maxLineGap=4)
    if lines is None:
        return None
    ends = lines.reshape(-1, 2, 2).astype(np.float64)
    ways = ends[:, 1] - ends[:, 0]
    angles = np.degrees(np.arctan2(ways[:, 1], ways[:, 0])) % 90
    is_slanted = (angles > 8) & (angles < 82)  # level and upright lines are walls and horizons
    ends, ways = ends[is_slanted][:200], ways[is_slanted][:200]
    if len(ends) < 6:
        return None
    normals = np.stack([-ways[:, 1], ways[:, 0]], -1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = (normals * ends[:, 0]).sum(1)
    best, tolerance = np.zeros(len(ends), bool), 0.02 * max(height, width)
    for i in range(len(ends)):
        for j in range(i):
            pair = normals[[i, j]]
            if abs(np.linalg.det(pair)) < 0.1:  # parallel
                continue
            point = np.linalg.solve(pair, offsets[[i, j]])
            agree = np.abs(normals @ point - offsets) < tolerance
            best = agree if agree.sum() > best.sum() else best
    if best.sum() < 6:
        return None
    point = np.linalg.lstsq(normals[best], offsets[best], rcond=None)[0]
    return [round(float(point[0] / width), 3), round(float(point[1] / height), 3)]


def _lab(pixels: NDArray) -> NDArray[np.float32]:
    return cv2.cvtColor((pixels.astype(np.float32) / 255)[None], cv2.COLOR_RGB2LAB)[0]


def _hex(lab: NDArray) -> str:
    rgb = cv2.cvtColor(lab[None, None].astype(np.float32), cv2.COLOR_LAB2RGB)[0, 0]
    return "#" + "".join(f"{round(255 * float(np.clip(x, 0, 1))):02x}" for x in rgb)


def _name(lab: NDArray) -> str:
    known = _lab(np.array(list(NAMED.values())))
    return list(NAMED)[int(np.linalg.norm(known - lab, axis=1).argmin())]
