"""A camera over finished pictures: a point of view, and a move of it during the clip.

The picture is seen through a window that lies wholly inside it, so nothing has to be made up at the
edges; what lies outside of the window is lost.
"""

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError, check_name

type Frames = NDArray[np.uint8]  # T H W 3

PERSPECTIVES = ("eye level", "close-up", "low angle", "high angle", "dutch angle")
MOVES = ("still", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out")
AMOUNT = 0.16  # of a move, unless told otherwise
_CLOSE = 1.25  # a close-up's magnification
_LEAN = 0.2  # share of the width that the far edge loses, seen from below or above
_ROLL = 6.0  # degrees of a dutch angle


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Raises UsageError for a name that there is not, or an amount that is no share."""

    perspective: str = PERSPECTIVES[0]
    move: str = MOVES[0]
    amount: float = AMOUNT
    """Of a move: the share of the picture that the window crosses, or by which it grows; to 1."""

    def __post_init__(self):
        check_name("perspective", self.perspective, PERSPECTIVES)
        check_name("camera", self.move, MOVES)
        if not 0 < self.amount <= 1:
            raise UsageError(f"camera amount {self.amount:g} is not above 0 and at most 1")


def look(frames: Frames, view: View) -> Frames:
    """The clip as the camera sees it, of the same shape."""
    height, width = frames.shape[1:3]
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    size = np.array([width, height], np.float32)
    # Of pixel corners, where the picture ends, not of their middles.
    target = (whole * size - 0.5).astype(np.float32)
    seen = _perspective(view.perspective, width / height)
    bend = cv2.getPerspectiveTransform(whole, seen)
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        window = _window(view, t / max(len(frames) - 1, 1))
        corners = cv2.perspectiveTransform(window[None], bend)[0]
        source = (corners * size - 0.5).astype(np.float32)
        if np.allclose(source, target, atol=1e-4):
            out[t] = frame
            continue
        out[t] = cv2.warpPerspective(
            frame,
            cv2.getPerspectiveTransform(source, target),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return out


def _window(view: View, share: float) -> NDArray[np.float32]:
    """Corners of what is seen of the unit square after `share` of the clip."""
    zoom, middle = 1.0, np.array([0.5, 0.5])
    if view.move.startswith("zoom"):
        zoom = 1 + view.amount * (share if view.move == "zoom in" else 1 - share)
    elif view.move != "still":
        zoom = 1 + view.amount
        way = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
        slack = 1 - 1 / zoom
        middle = middle + (share - 0.5) * slack * np.array(way[view.move.split()[1]])
    half = 0.5 / zoom
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    return (middle + corners).astype(np.float32)


def _perspective(name: str, aspect: float) -> NDArray[np.float32]:
    """Corners of what a point of view sees of the unit square, from top left clockwise."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    if name == "close-up":
        corners = corners / _CLOSE
    elif name == "low angle":  # what is above is farther away, and so more of it is seen
        corners[2:, 0] *= 1 - _LEAN
    elif name == "high angle":
        corners[:2, 0] *= 1 - _LEAN
    elif name == "dutch angle":
        angle = np.deg2rad(_ROLL)
        sides = np.array([aspect, 1.0])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = (corners * sides) @ turn.T / sides
        corners = turned * (0.5 / np.abs(turned).max())
    return (corners + 0.5).astype(np.float32)
