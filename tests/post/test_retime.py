"""If these fail, frames between frames are not where the motion is."""

import cv2
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.post import retime


def moving(places, size=96):
    """A soft textured disc at x = places on a still texture."""
    y, x = np.mgrid[:size, :size]
    ground = 90 + 20 * np.sin(x / 5.0) + 20 * np.cos(y / 7.0)
    frames = []
    for place in places:
        disc = 1 / (1 + np.exp((np.hypot(x - place, y - size / 2) - 16) * 2))
        grain = 180 + 40 * np.sin((x - place) / 3.0)
        frames.append(ground * (1 - disc) + grain * disc)
    return np.repeat(np.stack(frames)[..., None], 3, -1).round().astype(np.uint8)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_whole_places_are_the_frames_themselves():
    frames = moving([30, 34, 38])
    np.testing.assert_array_equal(
        retime.at_places(frames, np.array([2.0, 0.0, 1.0])), frames[::-1][[0, 2, 1]]
    )


def test_between_frames_the_motion_goes_on():
    """Against the frames that were left out: above repeating and above mixing, by 3 dB and more."""
    every = moving(np.arange(30, 50, 2.0))
    given, left_out = every[::2], every[1:-1:2]
    found = retime.at_places(given, np.arange(len(left_out)) + 0.5)
    mixed = (given[:-1].astype(float) + given[1:]) / 2
    assert psnr(found, left_out) > psnr(mixed, left_out) + 3
    assert psnr(found, left_out) > psnr(given[:-1], left_out) + 3


def test_small_pictures_are_no_trouble():
    small = np.stack([cv2.resize(frame, (32, 32)) for frame in moving([40, 46])])
    assert retime.at_places(small, np.array([0.25, 0.5])).shape == (2, 32, 32, 3)


def test_a_place_outside_is_refused():
    with pytest.raises(UsageError, match="outside of the clip's 0 to 1"):
        retime.at_places(moving([40, 46]), np.array([1.5]))
