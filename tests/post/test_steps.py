"""If these fail, a finishing step does not mend what it is for, or spoils what is whole."""

import argparse
import dataclasses

import cv2
import numpy as np
import pytest

from sora_jax.cli import post as verb
from sora_jax.errors import UsageError
from sora_jax.post import chain, denoise, profiles, sharpen, shots, stabilise
from tests.post.clips import psnr, scene


def finish(frames, **wishes):
    return np.stack(list(chain.finish(iter(frames), chain.make_steps(**wishes))))


def as_bytes(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clean():
    return scene()


@pytest.mark.parametrize("preset", ["clean", "steady", "natural", "restore"])
def test_a_clean_clip_stays(clean, preset):
    assert psnr(finish(clean, preset=preset), clean) > 40


def test_sharpening_leaves_sharp_edges(clean):
    square = np.zeros((3, 48, 48, 3), np.uint8)
    square[:, 12:36, 12:36] = 200
    assert psnr(finish(square, sharpen="auto"), square) > 40


def test_a_cast_is_taken_out_and_a_red_thing_stays_red(clean):
    spoilt = as_bytes(clean * np.array([1.05, 0.92, 0.7]))
    mended = finish(spoilt, white_balance=True)
    ground = mended[:, :20].astype(float).mean((0, 1, 2))
    assert ground.max() / ground.min() < 1.03
    red = mended[0, 50, 30].astype(int)
    assert red[0] > 2 * red[1] and red[0] > 2 * red[2]


def test_what_is_one_strong_colour_has_no_cast():
    blue = np.tile(np.array([30, 60, 220], np.uint8), (3, 32, 32, 1))
    np.testing.assert_array_equal(finish(blue, white_balance=True), blue)


def test_stops_undo_stops(clean):
    assert psnr(finish(finish(clean, exposure=-1), exposure=1), clean) > 45


def test_auto_exposure_lifts_a_dark_clip_alone(clean):
    dark = as_bytes(clean * 0.3)
    assert finish(dark, exposure="auto").mean() > 1.8 * dark.mean()
    np.testing.assert_array_equal(finish(clean, exposure="auto"), clean)


def test_contrast_and_saturation_are_monotone(clean):
    def spread(c):
        return finish(clean, contrast=c).std()

    def colour(s):
        return np.ptp(finish(clean, saturation=s).astype(int), axis=-1).mean()

    assert spread(0.5) < spread(1.0) < spread(1.5)
    assert colour(0) < 0.5 < colour(0.5) < colour(1.0) < colour(1.5)
    np.testing.assert_array_equal(finish(clean, contrast=1.0), clean)


def test_shake_is_taken_out(clean):
    rng = np.random.default_rng(0)
    spoilt = []
    for frame in clean:
        matrix = cv2.getRotationMatrix2D((48, 48), rng.normal(0, 0.8), 1.0)
        matrix[:, 2] += rng.normal(0, 2, 2)
        spoilt.append(cv2.warpAffine(frame, matrix, (96, 96), borderMode=cv2.BORDER_REFLECT_101))

    def jitter(frames):
        steps = [stabilise.camera_step(a, b) for a, b in zip(frames, frames[1:], strict=False)]
        return np.sqrt(np.mean(np.square(np.array(steps)[:, :2] * 96)))

    mended = finish(spoilt, stabilise=True)
    assert jitter(mended) < 0.25 * jitter(spoilt)
    assert psnr(mended, clean) > psnr(np.stack(spoilt), clean) + 3


def test_a_thing_that_moves_is_not_the_camera():
    """On a plain ground only the disc can be followed; that is too little of the picture."""
    y, x = np.mgrid[:96, :96]
    discs = [np.hypot(x - 48 - 6 * np.sin(t), y - 48) < 12 for t in range(8)]
    frames = np.repeat(np.where(np.stack(discs)[..., None], 220, 90), 3, axis=3).astype(np.uint8)
    np.testing.assert_array_equal(finish(frames, stabilise=True), frames)


def test_a_pan_is_kept(clean):
    """Steady motion is what is meant: the path through it is itself."""
    wide = np.concatenate([clean[0], clean[0][:, ::-1]], axis=1)
    pan = np.stack([wide[:, 4 * t : 4 * t + 96] for t in range(12)])
    assert psnr(finish(pan, stabilise=True), pan) > 35


def test_flicker_is_halved_and_a_fade_is_kept(clean):
    def jumps(frames):
        return np.abs(np.diff(np.log(frames[:, :20].astype(float).mean((1, 2, 3))), n=2)).mean()

    gains = np.random.default_rng(0).uniform(0.75, 1, len(clean))[:, None, None, None]
    spoilt = as_bytes(clean * gains)
    assert jumps(finish(spoilt, deflicker=True)) < 0.5 * jumps(spoilt)
    fade = as_bytes(clean * np.linspace(1, 0.6, len(clean))[:, None, None, None])
    assert psnr(finish(fade, deflicker=True), fade) > 40


def test_noise_is_found_and_taken_out(clean):
    noisy = as_bytes(clean + np.random.default_rng(0).normal(0, 8, clean.shape))
    assert denoise.noise_of(noisy[0]) == pytest.approx(8, rel=0.25)
    assert psnr(finish(noisy[:5], denoise="auto"), clean[:5]) > psnr(noisy, clean) + 3


@pytest.mark.parametrize("blur", [1.5, 2.5])
def test_blur_is_found_and_undone_without_halos(blur):
    y, x = np.mgrid[:96, :96]
    sharp = np.repeat(np.where((x // 24 + y // 24) % 2, 200, 60)[None, ..., None], 3, 3)
    sharp = np.repeat(sharp.astype(np.uint8), 2, 0)
    spoilt = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in sharp])
    assert sharpen.blur_of(spoilt[0]) == pytest.approx(blur, rel=0.25)
    mended = finish(spoilt, sharpen="auto")
    assert psnr(mended, sharp) > psnr(spoilt, sharp) + 0.5
    assert mended.max() <= spoilt.max() and mended.min() >= spoilt.min()


def test_figures_are_smooth_within_a_shot_and_do_not_cross_a_cut():
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    frames[4:] = np.indices((16, 16)).sum(0)[None, ..., None] * 8
    values = np.array([0, 1, 0, 1, 10, 11, 10, 11.0])
    numbers = iter(values)
    found = list(shots.smoothed(frames, lambda _, frame: np.array([next(numbers)]), spread=2.0))
    smooth = np.array([vector[0] for _, _, vector in found])
    assert smooth[:4].max() < 1 and smooth[4:].min() > 10
    assert np.abs(np.diff(smooth[:4])).max() < 0.5
    assert len(found) == 8 and [own[0] for _, own, _ in found] == values.tolist()


def test_a_long_clip_is_never_held_whole():
    """What waits is what is looked ahead, not the clip."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield np.full((16, 16, 3), 100, np.uint8)

    stream = chain.finish(endless(), chain.make_steps("restore"))
    for _ in range(3):
        next(stream)
    assert taken < 200


@pytest.mark.parametrize(
    ("preset", "wishes", "message"),
    [
        ("vivd", {}, "did you mean 'vivid'.*clean, steady, natural, vivid, soft, restore"),
        (None, {"exposure": "9"}, "exposure 9 is not a number from -4 to 4 or auto"),
        (None, {"contrast": -1}, "contrast -1 is not a number from 0 to 4$"),
        (None, {"sharpen": 0}, "sharpen 0 is not a number from 0.1 to 5"),
        (None, {"denoise": "much"}, "denoise much is not a number from 0 to 50"),
        (None, {"stabilise": float("nan")}, "stabilise nan is not a number"),
        (None, {"blur": 1}, "no step 'blur'; there are denoise"),
    ],
)
def test_wrong_values_are_named(preset, wishes, message):
    with pytest.raises(UsageError, match=message):
        chain.finish([], chain.make_steps(preset, **wishes))


def test_the_verb_offers_every_step_preset_and_profile():
    """Its help is written without loading them, and must not fall behind."""
    assert verb.STEPS == tuple(field.name for field in dataclasses.fields(chain.Steps))
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    told = {action.dest: action.help or "" for action in parser._actions}
    assert set(verb.STEPS) <= set(told)
    assert all(name in told["preset"] for name in chain.PRESETS)
    assert all(name in told["profile"] for name in profiles.PROFILES)
