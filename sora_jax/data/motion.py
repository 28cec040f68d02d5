"""The motions of the toy world: what each motion word means, frame by frame."""

from __future__ import annotations

import dataclasses

import numpy as np

DIRECTIONS: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Object:
    """One thing in a scene: how it looks, where it starts and how it moves.

    `x`, `y` and `radius` in pixels at frame 0. `speed` is "slow" or "fast", or "none" where the
    motion has no speed or the level no speeds. `rate` is per frame: pixels (left, right, up, down),
    growth of log radius (grow), radians (orbit, rotate) or bounces (bounce). `extent` in pixels is
    the radius of an orbit or the height of a bounce; `angle` in radians is where an orbit starts.
    """

    shape: str
    colour: str
    motion: str
    speed: str
    x: float
    y: float
    radius: float
    rate: float = 0.0
    extent: float = 0.0
    angle: float = 0.0


@dataclasses.dataclass(frozen=True)
class Track:
    """Centre (pixels), radius (pixels) and turn (radians, clockwise) of an object, each [T]."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    turn: np.ndarray


def track(item: Object, num_frames: int) -> Track:
    """Follow an object in the world, without the camera, over frames 0 .. num_frames - 1."""
    frame = np.arange(num_frames, dtype=np.float64)
    x, y = np.full(num_frames, item.x), np.full(num_frames, item.y)
    radius, turn = np.full(num_frames, item.radius), np.zeros(num_frames)
    if item.motion in DIRECTIONS:
        step_x, step_y = DIRECTIONS[item.motion]
        x, y = x + step_x * item.rate * frame, y + step_y * item.rate * frame
    elif item.motion == "grow":
        radius = radius * np.exp(item.rate * frame)
    elif item.motion == "rotate":
        turn = item.rate * frame
    elif item.motion == "orbit":
        phase = item.angle + item.rate * frame
        x, y = x + item.extent * np.cos(phase), y + item.extent * np.sin(phase)
    elif item.motion == "bounce":
        y = y - item.extent * np.abs(np.sin(np.pi * item.rate * frame))
    elif item.motion != "still":
        raise ValueError(f"unknown motion {item.motion!r}")
    return Track(x, y, radius, turn)


def camera_path(camera: str, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Shift to the right (pixels) and zoom of the picture about its centre, each [T].

    A camera that pans left shifts the picture to the right.
    """
    frame = np.arange(num_frames, dtype=np.float64)
    shift, zoom = np.zeros(num_frames), np.ones(num_frames)
    if camera in ("pan left", "pan right"):
        shift = frame * PAN_RATE * (1 if camera == "pan left" else -1)
    elif camera == "zoom in":
        zoom = np.exp(ZOOM_RATE * frame)
    elif camera == "zoom out":
        zoom = MAX_ZOOM * np.exp(-ZOOM_RATE * frame)
    elif camera != "still":
        raise ValueError(f"unknown camera {camera!r}")
    return shift, zoom


PAN_RATE = 0.85  # pixels per frame
ZOOM_RATE = 0.024  # log zoom per frame: 1.43 times over 16 frames
MAX_ZOOM = 1.43
