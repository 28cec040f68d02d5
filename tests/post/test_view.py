"""If these fail, the camera shows something that was not in the picture, or goes another way."""

import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.post.view import MOVES, PERSPECTIVES, View, look


def ramp(count: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames whose red grows to the right and green downwards, by two a pixel."""
    y, x = np.mgrid[:height, :width]
    frame = np.stack([2 * x, 2 * y, np.full_like(x, 50)], -1).astype(np.uint8)
    return np.stack([frame] * count)


def middle(frames: np.ndarray) -> np.ndarray:
    """(x, y) in the picture of what is seen in the middle of each frame."""
    return frames[:, 23:25, 31:33, :2].astype(float).mean((1, 2)) / 2


def test_at_eye_level_a_still_camera_changes_nothing():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    assert np.array_equal(look(frames, View()), frames)


@pytest.mark.parametrize(
    ("move", "way"),
    [("pan left", (-1, 0)), ("pan right", (1, 0)), ("tilt up", (0, -1)), ("tilt down", (0, 1))],
)
def test_a_move_crosses_the_share_that_was_asked_for_at_an_even_pace(move, way):
    path = middle(look(ramp(), View(move=move, amount=0.25)))
    steps = np.diff(path, axis=0)
    # A window of 1 / 1.25 of the side crosses what is left of it: a fifth of the picture.
    wanted = 0.2 * np.array([64, 48]) * way / 8
    assert np.abs(steps - wanted).max() < 0.3
    assert np.abs(path.mean(0) - [31.5, 23.5]).max() < 0.6


def test_zooming_in_is_zooming_out_backwards_and_ends_where_it_says():
    frames = ramp()
    closer = look(frames, View(move="zoom in", amount=0.5))
    assert np.array_equal(closer[0], frames[0])
    assert np.array_equal(closer[::-1], look(frames, View(move="zoom out", amount=0.5)))
    slope = np.diff(closer[-1][24, 8:56, 0].astype(float)).mean() / 2
    assert slope == pytest.approx(1 / 1.5, rel=0.02)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("perspective", PERSPECTIVES)
def test_nothing_is_seen_that_lies_outside_of_the_picture(move, perspective):
    frames = ramp(5)
    seen = look(frames, View(perspective=perspective, move=move, amount=1.0)).astype(int)
    # Right up to its edges the picture goes on: none of it is the edge's colour, repeated.
    edges = ((seen[:, 0], 0), (seen[:, -1], 0), (seen[:, :, 0], 1), (seen[:, :, -1], 1))
    for edge, channel in edges:
        ends = np.sort(edge[:, [0, 3, -4, -1], channel], axis=1)
        assert (ends[:, 1] > ends[:, 0]).all() and (ends[:, 3] > ends[:, 2]).all()
    assert seen[..., 0].min() >= 0 and seen[..., 0].max() <= 2 * 63


def test_from_below_the_top_is_farther_away_and_from_above_the_bottom():
    frames = ramp(1)
    low, high = (
        look(frames, View(perspective=name))[0].astype(float)
        for name in ("low angle", "high angle")
    )

    def span(picture, row):
        return picture[row, -1, 0] - picture[row, 0, 0]

    assert span(low, 0) > 1.15 * span(low, -1) and span(high, 0) * 1.15 < span(high, -1)


@pytest.mark.parametrize("amount", [0.0, -0.1, 1.1, float("nan")])
def test_a_move_by_no_share_is_refused(amount):
    with pytest.raises(UsageError, match="camera amount"):
        View(move="pan left", amount=amount)
