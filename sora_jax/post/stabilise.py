"""Stabilise: the camera's path made smooth."""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.post.shots import Frame, Vector, smoothed

MAX_SPREAD = 60.0
SPREAD = 10.0  # frames: slower motion is meant, faster is shake
_SIDE = 320  # of the picture in which motion is looked for
_CELLS, _POINTS = 5, 12  # 5 x 5 parts of the picture, and points that are followed in each
_MIN_EDGE = 6  # of the 16 parts at the edge: where fewer move alike, it is not the camera
_STILL = 0.02  # pixels: smaller corrections are none


def stabilise(frames: Iterable[Frame], spread: float = SPREAD) -> Iterator[Frame]:
    """Move, turn and scale each frame so that the camera goes the smooth path near its own.

    `spread` in frames says how smooth. What comes in at the edges is taken from the frames before,
    so nothing is cut off. Where too little of the picture has detail to tell the camera from a
    thing that moves, nothing is done.
    """
    last = None
    for frame, own, smooth in smoothed(frames, camera_step, spread=spread, is_path=True):
        last = _moved(frame, smooth - own, last)
        yield last


def camera_step(before: Frame | None, frame: Frame) -> Vector:
    """What the camera does to the picture: right, down (sides), log scale, turn (radians)."""
    if before is None:
        return np.zeros(4)
    factor = _SIDE / max(frame.shape[:2])
    size = max(1, round(frame.shape[1] * factor)), max(1, round(frame.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    a, b = (
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), size, interpolation=method)
        for f in (before, frame)
    )
    points = _points(a)
    if len(points) < _MIN_EDGE:
        return np.zeros(4)
    found, is_found, _ = cv2.calcOpticalFlowPyrLK(a, b, points, None)  # type: ignore[call-overload]
    there, here = points[is_found.ravel() == 1], found[is_found.ravel() == 1]
    if len(there) < _MIN_EDGE:
        return np.zeros(4)
    middle = (np.array(size, np.float32) - 1) / 2
    matrix, inliers = cv2.estimateAffinePartial2D(
        there - middle, here - middle, method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if matrix is None or _edge_cells(there[inliers.ravel() == 1], size) < _MIN_EDGE:
        return np.zeros(4)
    scale, turn = np.hypot(matrix[0, 0], matrix[1, 0]), np.arctan2(matrix[1, 0], matrix[0, 0])
    return np.array([*(matrix[:, 2] / _SIDE), np.log(scale), turn])


def _points(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners (N 2: x, y), the best of each part of the picture, however faint."""
    rows, columns = (np.linspace(0, side, _CELLS + 1).astype(int) for side in grey.shape)
    found = []
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            cell = np.ascontiguousarray(grey[top:bottom, left:right])
            corners = cv2.goodFeaturesToTrack(cell, _POINTS, 0.1, 5)
            if corners is not None:
                found.append(corners.reshape(-1, 2) + np.array([left, top], np.float32))
    return np.concatenate(found) if found else np.zeros((0, 2), np.float32)


def _edge_cells(points: NDArray[np.float32], size: tuple[int, int]) -> int:
    """In how many parts at the edge of the picture any of the points lies."""
    cells = np.minimum((points * _CELLS / np.array(size)).astype(int), _CELLS - 1)
    return len({tuple(cell) for cell in cells.tolist() if {0, _CELLS - 1} & set(cell)})


def _moved(frame: Frame, change: Vector, last: Frame | None) -> Frame:
    """`frame` with its content moved by `change`; what is missing is `last`'s, or the edge's."""
    height, width = frame.shape[:2]
    side = max(height, width)
    reach = side * np.array([1, 1, 0.5, 0.5])  # pixels that each figure moves, at most
    if np.abs(change * reach).max() < _STILL:
        return frame
    right, down, zoom, turn = change
    cos, sin = np.exp(zoom) * np.cos(turn), np.exp(zoom) * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    middle = (np.array([width, height]) - 1) / 2
    offset = middle - linear @ middle + side * np.array([right, down])
    matrix = np.column_stack([linear, offset])
    moved = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if last is None or last.shape != frame.shape:
        return moved
    inside = cv2.warpAffine(np.ones((height, width), np.float32), matrix, (width, height))
    return np.where(inside[..., None] < 0.999, last, moved)
