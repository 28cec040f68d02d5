"""Denoise: what differs from frame to frame without being motion, averaged away."""

import collections
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.post import retime
from sora_jax.post.colour import AUTO
from sora_jax.post.shots import Frame, is_cut

MAX_NOISE = 50.0
_REACH = 2  # frames to both sides
_LITTLE = 0.8  # of 255: noise below this is left alone


def denoise(frames: Iterable[Frame], noise: float | str = AUTO) -> Iterator[Frame]:
    """Take out noise of `noise` of 255 (standard deviation), or of as much as is found.

    Frames around each are brought onto it along the motion, and count where they agree with it;
    what is left is averaged with like patches of the picture itself (Buades et al. 2005).
    """
    for frame, others in _neighbours(frames):
        level = noise_of(frame) if noise == AUTO else float(noise)
        yield _clean(frame, others, level) if level > _LITTLE else frame


def noise_of(frame: Frame) -> float:
    """Standard deviation of the noise of a frame, from the median of its second differences.

    Immerkaer 1996, with a median, so that edges do not count.
    """
    grey = frame.astype(np.float32).mean(-1)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rough = np.abs(cv2.filter2D(grey, -1, kernel))[1:-1, 1:-1]
    if not rough.size:
        return 0.0
    # The kernel's root sum of squares is 6; channels are averaged; 0.6745 is the median of |N|.
    return float(np.median(rough) / 6 / 0.6745 * np.sqrt(3))


def _neighbours(frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[Frame]]]:
    """Each frame with those near it in its shot."""
    near: collections.deque[Frame | None] = collections.deque([None] * _REACH)
    stream, before = iter(frames), None

    def push(frame: Frame | None) -> tuple[Frame, list[Frame]] | None:
        near.append(frame)
        if len(near) <= 2 * _REACH:
            return None
        middle = near[_REACH]
        found = None if middle is None else (middle, _in_shot(list(near)))
        near.popleft()
        return found

    for frame in stream:
        if before is not None and is_cut(before, frame):
            for _ in range(_REACH):
                if (found := push(None)) is not None:
                    yield found
        before = frame
        if (found := push(frame)) is not None:
            yield found
    for _ in range(_REACH):
        if (found := push(None)) is not None:
            yield found


def _in_shot(near: list[Frame | None]) -> list[Frame]:
    """The frames around the middle one, up to the first gap on each side."""
    found = []
    for side in (near[_REACH + 1 :], near[:_REACH][::-1]):
        for frame in side:
            if frame is None:
                break
            found.append(frame)
    return found


def _clean(frame: Frame, others: list[Frame], noise: float) -> Frame:
    own = frame.astype(np.float32)
    total, weight = own.copy(), np.ones((*own.shape[:2], 1), np.float32)
    calm = cv2.GaussianBlur(frame, (0, 0), 1.0)
    for other in others:
        motion = retime.motion(calm, cv2.GaussianBlur(other, (0, 0), 1.0))
        moved = retime.warp(other, motion)
        # The mean squared difference of two noisy patches of one thing is twice the noise's.
        apart = cv2.blur(np.square(moved - own).mean(-1), (5, 5)) / (2 * noise**2)
        share = np.exp(-2 * np.maximum(apart - 1, 0))[..., None].astype(np.float32)
        total += share * moved
        weight += share
    mean = total / weight
    left = noise / np.sqrt(float(weight.mean()))
    calm_frame = np.clip(np.round(mean), 0, 255).astype(np.uint8)
    return _like_patches(calm_frame, left)


def _like_patches(frame: Frame, noise: float) -> NDArray[np.uint8]:
    return cv2.fastNlMeansDenoisingColored(
        frame, None, h=0.9 * noise, hColor=0.9 * noise, templateWindowSize=5, searchWindowSize=13
    )
