"""The camera: its way through a clip, and where a point of the scene falls in the picture."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

FIELD_OF_VIEW = 45.0  # degrees, from top to bottom
_TARGET = (0.0, 0.0, 0.42)  # what the camera looks at in the middle of a clip
_DISTANCE, _AZIMUTH, _ELEVATION = 3.5, 90.0, -20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A pose, as MuJoCo's free camera takes it: degrees and metres."""

    target: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float

    @property
    def axes(self) -> tuple[NDArray, NDArray, NDArray]:
        """Unit vectors: forward, to the right and up in the picture."""
        azimuth, elevation = math.radians(self.azimuth), math.radians(self.elevation)
        forward = np.array(
            [
                math.cos(elevation) * math.cos(azimuth),
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            ]
        )
        right = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
        return forward, right, np.cross(right, forward)

    @property
    def place(self) -> NDArray:
        """Where the camera is."""
        return np.asarray(self.target) - self.distance * self.axes[0]


def path(move: str, num_frames: int, size: tuple[int, int]) -> list[Camera]:
    """The pose of each frame for one of `scene.CAMERAS`; `size` is (height, width)."""
    # Portrait pictures see less to the sides, so they are taken from farther away.
    distance = _DISTANCE * max(1.0, size[0] / size[1])
    middle = Camera(target=_TARGET, distance=distance, azimuth=_AZIMUTH, elevation=_ELEVATION)
    return [_moved(middle, move, 2 * u - 1) for u in np.linspace(0, 1, num_frames)]


def _moved(middle: Camera, move: str, u: float) -> Camera:
    """The pose at `u`, which goes from -1 to 1."""
    match move:
        case "still":
            return middle
        case "pan left" | "pan right":
            turned = middle.azimuth + (7 if move == "pan left" else -7) * u
            pose = dataclasses.replace(middle, azimuth=turned)
            x, y, z = (float(v) for v in middle.place + middle.distance * pose.axes[0])
            return dataclasses.replace(pose, target=(x, y, z))
        case "closer" | "back":
            factor = 1.0 + (-0.16 if move == "closer" else 0.16) * u
            return dataclasses.replace(middle, distance=middle.distance * factor)
        case "circle left" | "circle right":
            turned = middle.azimuth + (20 if move == "circle right" else -20) * u
            return dataclasses.replace(middle, azimuth=turned)
        case "rise":
            return dataclasses.replace(middle, elevation=middle.elevation - 11 * u)
    raise AssertionError(move)


def project(
    camera: Camera, points: NDArray[np.floating], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Where points N 3 fall in a picture of (height, width).

    N 3: x and y in pixels from the upper left corner, and how many pixels a metre has there.
    """
    forward, right, up = camera.axes
    offset = np.asarray(points, np.float64) - camera.place
    depth = offset @ forward
    focal = size[0] / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    x = size[1] / 2 + focal * (offset @ right) / depth
    y = size[0] / 2 - focal * (offset @ up) / depth
    return np.stack([x, y, focal / depth], axis=1)
