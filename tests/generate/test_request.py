"""If these fail, a wish that can't be met is met differently, without a word."""

import numpy as np
import pytest

from sora_jax.errors import LimitError, UsageError
from sora_jax.generate import fit
from sora_jax.generate.request import count_frames, make_request, make_settings
from tests.tiny_model import tiny_parts


@pytest.fixture(scope="module")
def parts():
    parts = tiny_parts()
    return parts["model"], parts["sampling"]


def test_wishes_change_only_what_they_name(parts):
    model, sampling = parts
    settings = make_settings(model, sampling, steps=7, size=(24, 32), fps=None)
    assert (settings.steps, settings.size, settings.fps) == (7, (24, 32), sampling.fps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(size=(16, 20)), "20x16 is not a multiple of 8x8; use 16x16 or 24x16"),
        (dict(size=(4, 16)), "use 16x8$"),
        (dict(size=(0, 16)), "must be positive"),
        (dict(steps=0), "steps 0.*at least 1"),
        (dict(solver="rk4"), "'rk4'.*euler, heun, multistep"),
        (dict(cfg_scale=-1.0), "cfg_scale -1"),
        (dict(interval=(0.5, 0.2)), "interval"),
        (dict(rescale=1.5), "rescale 1.5"),
        (dict(shift=0.0), "shift 0"),
        (dict(fps=0.0), "fps 0"),
        (dict(num_frames=10), "num_frames 10.*use 8"),
    ],
)
def test_impossible_settings_name_value_and_remedy(parts, changes, message):
    with pytest.raises(UsageError, match=message):
        make_settings(*parts, **changes)


def test_a_window_past_the_limit_says_so(parts):
    with pytest.raises(LimitError, match="65536 tokens and 16384 is the limit"):
        make_settings(*parts, size=(1024, 1024))


def test_seconds_are_whole_chunks():
    assert count_frames(2.0, 8.0) == 16 and count_frames(1.1666666667, 24.0) == 28
    with pytest.raises(UsageError, match="1.7 at 8 fps is 13.6 frames.*--seconds 1.5 or 2$"):
        count_frames(1.7, 8.0)
    with pytest.raises(UsageError, match="use --seconds 0.5$"):
        count_frames(0.2, 8.0)
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be positive"):
            count_frames(seconds, 8.0)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match=f"seed {seed}"):
        make_request("a circle", seed=seed)


def test_enlarged_clips_come_back_as_they_were():
    """Files for people repeat each pixel; extending one must not soften it."""
    clip = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    large = clip.repeat(5, axis=1).repeat(5, axis=2)
    fitted, note = fit.fit_size(large, (8, 12))
    np.testing.assert_array_equal(fitted, clip)
    assert "60x40 was scaled to 12x8" in note


def test_the_middle_of_another_shape_is_kept():
    clip = np.zeros((1, 8, 16, 3), np.uint8)
    clip[:, :, 4:12] = 200
    fitted, note = fit.fit_size(clip, (8, 8))
    assert (fitted == 200).all() and "cut in the middle" in note


def test_what_fits_is_not_touched():
    clip = np.zeros((8, 8, 8, 3), np.uint8)
    assert fit.fit_size(clip, (8, 8)) == (clip, None)
    assert fit.fit_chunks(clip, keep_end=True) == (clip, None)


@pytest.mark.parametrize(("keep_end", "frames"), [(True, range(3, 7)), (False, range(4))])
def test_frames_are_dropped_at_the_end_that_does_not_go_on(keep_end, frames):
    clip = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    fitted, note = fit.fit_chunks(clip, keep_end=keep_end)
    assert fitted[:, 0, 0, 0].tolist() == list(frames) and "3 frames were dropped" in note


def test_a_clip_without_a_whole_chunk_is_refused():
    with pytest.raises(UsageError, match="has 3 frames; it needs at least 4"):
        fit.fit_chunks(np.zeros((3, 8, 8, 3), np.uint8), keep_end=True)
