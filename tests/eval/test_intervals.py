"""The intervals of the report mean what they say, and distances find the nearest clip."""

import numpy as np
import pytest

from sora_jax.eval.intervals import share, wilson
from sora_jax.eval.reconstruction import MAX_PSNR, error_picture, nearest, psnr, psnr_each


@pytest.mark.parametrize("truth", [0.02, 0.3, 0.95])
def test_intervals_hold_the_truth_as_often_as_their_level(truth):
    rng = np.random.default_rng(0)
    n = 256
    draws = rng.binomial(n, truth, 4000)
    held = [low <= truth <= high for low, high in (wilson(int(k), n) for k in draws)]
    assert 0.93 <= np.mean(held) <= 0.98


def test_intervals_match_published_values():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for (k, n), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(k, n) == pytest.approx((low, high), abs=6e-5)


def test_intervals_at_the_ends():
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1
    assert wilson(0, 0) == (0, 1)
    low, high = wilson(3, 10)
    assert wilson(7, 10) == pytest.approx((1 - high, 1 - low))
    for successes, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="no share"):
            wilson(successes, n)
    with pytest.raises(ValueError, match="0 clips"):
        share([])


def test_psnr_is_of_the_mean_error():
    black = np.zeros((2, 4, 8, 8, 3), np.uint8)
    gray = black.copy()
    gray[1] = 51  # a fifth of the range in one clip of two
    assert psnr_each(gray, black) == pytest.approx([MAX_PSNR, 13.979], abs=1e-3)
    assert psnr(gray, black) == pytest.approx(13.979 + 3.010, abs=1e-3)
    assert error_picture(gray, black, gain=3)[1].min() == 153
    with pytest.raises(ValueError, match="one shape"):
        psnr(gray, black[:1])


def test_nearest_finds_planted_copies_at_their_distance():
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (50, 4, 8, 8, 3), np.uint8)
    videos = np.clip(others[[33, 7]].astype(int) + [[[[[2]]]], [[[[0]]]]], 0, 255).astype(np.uint8)
    index, distance = nearest(videos, others, chunk=16)
    assert index.tolist() == [33, 7]
    assert distance == pytest.approx([2, 0], abs=0.02)
    brute = np.square(others[:, None].astype(float) - others[None, :5]).mean((2, 3, 4, 5))
    assert nearest(others[:5], others[5:], chunk=7)[0].tolist() == brute[5:].argmin(0).tolist()
