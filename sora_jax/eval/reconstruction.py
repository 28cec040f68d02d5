"""How near videos are to each other in pixels: PSNR, errors to look at, nearest neighbours."""

import math

import numpy as np
from numpy.typing import NDArray

Videos = NDArray[np.uint8]  # ... T H W 3

PEAK = 255.0
MAX_PSNR = 99.0  # stands for equal videos, whose PSNR is infinite and has no JSON


def psnr(first: Videos, second: Videos) -> float:
    """PSNR in dB of the mean squared error over everything in both arrays, at most MAX_PSNR."""
    return _to_psnr(float(np.mean(_squares(first, second))))


def psnr_each(first: Videos, second: Videos) -> list[float]:
    """PSNR in dB of each clip of B T H W 3."""
    errors = _squares(first, second).reshape(len(first), -1).mean(1)
    return [_to_psnr(float(error)) for error in errors]


def error_picture(first: Videos, second: Videos, gain: float = 6.0) -> Videos:
    """Show the absolute error, `gain` times as strong."""
    gap = np.abs(first.astype(np.float32) - second.astype(np.float32))
    return np.clip(gain * gap, 0, PEAK).astype(np.uint8)


def nearest(videos: Videos, others: Videos, chunk: int = 128) -> tuple[NDArray, NDArray]:
    """For each clip (B T H W 3) the nearest of `others` (N T H W 3): its index and its distance.

    The distance is the root mean square difference in pixel values. All pairs are compared by
    matrix products, `chunk` others at a time; the distance of the winner is then taken exactly.
    """
    if videos.shape[1:] != others.shape[1:]:
        raise ValueError(
            f"clips of {videos.shape[1:]} and {others.shape[1:]} can't be compared; use one shape"
        )
    flat = _centred(videos)
    best = np.full(len(videos), np.inf, np.float32)
    index = np.zeros(len(videos), np.int64)
    for start in range(0, len(others), chunk):
        rest = _centred(others[start : start + chunk])
        # |a - b|^2 without |a|^2, which does not change which b is nearest.
        distance = np.einsum("np,np->n", rest, rest) - 2 * flat @ rest.T
        near = distance.argmin(1)
        value = distance[np.arange(len(near)), near]
        is_better = value < best
        best[is_better], index[is_better] = value[is_better], start + near[is_better]
    exact = [
        math.sqrt(float(np.mean(_squares(video, others[i]))))
        for video, i in zip(videos, index, strict=True)
    ]
    return index, np.array(exact)


def _centred(videos: Videos) -> NDArray[np.float32]:
    """Rows of float32 around 0, where sums of squares keep their digits."""
    return videos.reshape(len(videos), -1).astype(np.float32) - PEAK / 2


def _squares(first: Videos, second: Videos) -> NDArray[np.float32]:
    if first.shape != second.shape or first.dtype != np.uint8 or second.dtype != np.uint8:
        raise ValueError(
            f"{first.dtype}{first.shape} and {second.dtype}{second.shape} are not two uint8 videos "
            "of one shape"
        )
    return np.square(first.astype(np.float32) - second.astype(np.float32))


def _to_psnr(error: float) -> float:
    if error == 0:
        return MAX_PSNR
    return min(10 * math.log10(PEAK**2 / error), MAX_PSNR)
