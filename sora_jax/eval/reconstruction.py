"""How near videos are to each other in pixels: PSNR, SSIM, flicker, sharpness, neighbours."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Videos = NDArray[np.uint8]  # ... T H W 3

PEAK = 255.0
MAX_PSNR = 99.0  # stands for equal videos, whose PSNR is infinite and has no JSON
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels, of the Gaussian in Wang et al. 2004
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(first: Videos, second: Videos) -> float:
    """PSNR in dB of the mean squared error over everything in both arrays, at most MAX_PSNR."""
    return _to_psnr(float(np.mean(_squares(first, second))))


def psnr_each(first: Videos, second: Videos) -> list[float]:
    """PSNR in dB of each clip of B T H W 3."""
    errors = _squares(first, second).reshape(len(first), -1).mean(1)
    return [_to_psnr(float(error)) for error in errors]


def ssim_each(first: Videos, second: Videos) -> list[float]:
    """SSIM of each clip of B T H W 3, a mean over its frames and colours (Wang et al. 2004).

    A Gaussian window of 11 pixels, places at which it is whole. Frames have 11 pixels a side or
    more.
    """
    if min(first.shape[2:4]) < SSIM_WINDOW:
        raise ValueError(f"frames of {first.shape[2:4]} are too small for SSIM; use 11 pixels")
    pairs = zip(first, second, strict=True)
    return [float(np.mean([_ssim(*f) for f in zip(a, b, strict=True)])) for a, b in pairs]


def flicker(source: Videos, other: Videos, chunk: int) -> dict[str, float]:
    """Temporal error of clips B T H W 3, in pixel values of 0 to 255.

    `flicker` is the mean absolute gap between the two videos' differences from frame to frame: 0
    where the other moves just as the source does, whatever its constant error. `flicker_borders` is
    that where a chunk of `chunk` frames ends and the next begins, `flicker_inside` elsewhere, and
    `motion` the mean absolute difference of the source itself.
    """
    gaps, moves = [], []
    for a, b in zip(source, other, strict=True):
        first, second = (np.diff(clip.astype(np.float32), axis=0) for clip in (a, b))
        gaps.append(np.abs(first - second).mean((1, 2, 3)))
        moves.append(np.abs(first).mean())
    gap = np.mean(gaps, axis=0)
    is_border = np.arange(1, len(gap) + 1) % chunk == 0
    found = {"flicker": gap.mean(), "motion": np.mean(moves)}
    if is_border.any():
        found |= {
            "flicker_borders": gap[is_border].mean(),
            "flicker_inside": gap[~is_border].mean(),
        }
    return {name: float(value) for name, value in found.items()}


def gradient_energy(videos: Videos) -> float:
    """Mean squared difference of neighbouring pixels, across and down: how sharp videos are."""
    total = 0.0
    for video in videos:
        wide = video.astype(np.float32)
        total += sum(float(np.mean(np.square(np.diff(wide, axis=axis)))) for axis in (1, 2))
    return total / len(videos)


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


def _ssim(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """SSIM of two frames H W 3."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    rim = SSIM_WINDOW // 2

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found = cv2.GaussianBlur(x, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)
        return np.asarray(found[rim:-rim, rim:-rim])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    return float(np.mean(light * (2 * both + SSIM_C2) / (var_a + var_b + SSIM_C2)))


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
