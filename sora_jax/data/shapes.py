"""The shapes of the toy world, as signed distances: what each shape word means, exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Sdf = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape of radius 1 around its centroid, y downward.

    `sdf(x, y)` is the signed distance to the outline (negative inside), `reach` the largest
    distance of the outline from the centroid, and `symmetry` the smallest turn in degrees that
    maps the shape to itself (0 for shapes that no turn changes).
    """

    sdf: Sdf
    reach: float
    symmetry: float


def _half_planes(x: np.ndarray, y: np.ndarray, planes: tuple[tuple[float, float, float], ...]):
    """Signed distance to a convex polygon, given as (normal x, normal y, offset); exact inside."""
    distance = planes[0][0] * x + planes[0][1] * y - planes[0][2]
    for normal_x, normal_y, offset in planes[1:]:
        distance = np.maximum(distance, normal_x * x + normal_y * y - offset)
    return distance


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - 0.95


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Equilateral, one corner up: the inradius is half the circumradius.
    inradius, slope = 0.6, 3**0.5 / 2
    return _half_planes(np.abs(x), y, ((slope, -0.5, inradius), (0.0, 1.0, inradius)))


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(x, y) - 0.34, np.maximum(x, y) - 1.0)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Fold the plane into one tenth of a turn; there the star is a single edge.
    outer, inner, tenth = 1.2, 0.56, np.pi / 5
    radius = np.sqrt(x * x + y * y)
    angle = np.arctan2(x, -y)
    angle = np.abs(angle - 2 * tenth * np.round(angle / (2 * tenth)))
    edge_x, edge_y = inner * np.cos(tenth) - outer, inner * np.sin(tenth)
    length = np.hypot(edge_x, edge_y)
    across = (radius * np.cos(angle) - outer) * edge_y - radius * np.sin(angle) * edge_x
    return across / length


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - 0.76) - 0.29


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    half_width, half_height = 0.72, 1.2
    scale = half_width * half_height / np.hypot(half_width, half_height)
    return (np.abs(x) / half_width + np.abs(y) / half_height - 1) * scale


SHAPES: dict[str, Shape] = {
    "circle": Shape(_circle, 0.95, 0.0),
    "square": Shape(_square, 1.16, 90.0),
    "triangle": Shape(_triangle, 1.2, 120.0),
    "cross": Shape(_cross, 1.06, 90.0),
    "star": Shape(_star, 1.2, 72.0),
    "ring": Shape(_ring, 1.05, 0.0),
    "diamond": Shape(_diamond, 1.2, 180.0),
}


def distance(
    shape: str,
    grid: tuple[np.ndarray, np.ndarray],
    centre: tuple[np.ndarray, np.ndarray],
    radius: np.ndarray,
    angle: np.ndarray,
) -> np.ndarray:
    """Signed distance in pixels from each pixel centre to the outline, T H W float32.

    `grid` is (x [W], y [H]) in pixels; `centre` (x [T], y [T]), `radius` [T] in pixels and
    `angle` [T] in radians, clockwise on the screen.
    """
    scale = (1 / radius).astype(np.float32)[:, None, None]
    x = (grid[0][None, None, :] - centre[0][:, None, None]).astype(np.float32) * scale
    y = (grid[1][None, :, None] - centre[1][:, None, None]).astype(np.float32) * scale
    if np.any(angle):
        cos = np.cos(angle).astype(np.float32)[:, None, None]
        sin = np.sin(angle).astype(np.float32)[:, None, None]
        x, y = cos * x + sin * y, cos * y - sin * x
    return np.broadcast_to(
        SHAPES[shape].sdf(x, y) / scale, (len(radius), len(grid[1]), len(grid[0]))
    )
