"""Frames between frames, by optical flow."""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError

type Frames = NDArray[np.uint8]  # T H W 3

_FLOW_SIDE = 128  # smaller pictures are enlarged before their motion is looked for


def at_places(frames: Frames, places: NDArray[np.floating]) -> Frames:
    """The pictures at fractional `places` of `frames`: 1.25 lies a quarter between 1 and 2.

    Between two frames both are warped along the motion between them and mixed (Jiang et al. 2018,
    Super SloMo, eq. 4, without its networks). Whole places are frames as they are.
    Raises UsageError for a place outside of 0 .. T - 1.
    """
    last = len(frames) - 1
    if len(places) and not (places.min() >= 0 and places.max() <= last):
        raise UsageError(
            f"places {places.min():g} to {places.max():g} lie outside of the clip's 0 to {last}"
        )
    out = np.empty((len(places), *frames.shape[1:]), np.uint8)
    lower = np.minimum(np.floor(places).astype(int), max(last - 1, 0))
    order = np.argsort(lower, kind="stable")
    for index, numbers in itertools.groupby(order, key=lambda number: lower[number]):
        between = None
        for number in numbers:
            share = float(places[number] - index)
            if share in (0.0, 1.0):
                out[number] = frames[index + int(share)]
                continue
            pair = frames[index], frames[index + 1]
            between = between or (motion(*pair), motion(*pair[::-1]))
            out[number] = _between(*pair, *between, share)
    return out


def _between(a, b, forward, backward, share: float) -> NDArray[np.uint8]:
    to_a = -(1 - share) * share * forward + share**2 * backward
    to_b = (1 - share) ** 2 * forward - share * (1 - share) * backward
    mixed = (1 - share) * warp(a, to_a) + share * warp(b, to_b)
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def warp(picture: NDArray, flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """`picture` (H W 3) as seen from where its pixels go by `flow` (H W 2); edges are repeated."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    where = x + flow[..., 0], y + flow[..., 1]
    return cv2.remap(
        picture.astype(np.float32), *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def motion(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Motion in pixels from `a` to `b`, H W 2 (x, y)."""
    height, width = a.shape[:2]
    scale = max(1, -(-_FLOW_SIDE // min(height, width)))
    size = (width * scale, height * scale)
    grey = [
        cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_CUBIC)
        for picture in (a, b)
    ]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(*grey, None)  # type: ignore[call-overload]
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / scale
