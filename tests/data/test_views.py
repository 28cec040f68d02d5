"""Views of clips: under their limits, in their proportions, at the right moments."""

import dataclasses

import numpy as np
import pytest

from sora_jax import media
from sora_jax.data import views
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.data.views import Shapes, View
from sora_jax.errors import UsageError

RNG = np.random.default_rng(0)
CLIPS = Shapes(
    num_frames=np.where(RNG.random(500) < 0.2, 1, RNG.integers(1, 200, 500)),
    height=RNG.integers(16, 800, 500),
    width=RNG.integers(16, 800, 500),
    fps=RNG.choice([8.0, 15.0, 23.976, 30.0], 500),
)
VIEWS = (View(fps=8.0, max_area=128 * 128), View(max_frames=16, max_area=64 * 64), View(fps=24.0))


def test_every_view_keeps_its_limits_and_the_proportions():
    for view in VIEWS:
        (made,) = views.in_turn([view], CLIPS, 8)
        has = made.num_frames > 0
        assert has.any() and np.all(made.num_frames[has] % 4 == 0)
        assert np.all(made.num_frames <= view.max_frames)
        assert np.all(made.height * made.width <= view.max_area)
        assert np.all(made.height[has] % 8 == 0) and np.all(made.width[has] % 8 == 0)
        assert np.all(made.height <= CLIPS.height) and np.all(made.width <= CLIPS.width)
        # One scale for both sides, up to what is cut off to whole multiples.
        scale = np.minimum(1, np.sqrt(view.max_area / (CLIPS.height * CLIPS.width)))
        for side, cut in ((CLIPS.height, made.height), (CLIPS.width, made.width)):
            assert np.all((side * scale - cut)[has] < 8 + 1e-3)
        stills = CLIPS.num_frames == 1
        assert np.all(made.num_frames[stills & has] == 4)
        if view.fps:
            assert not has[~stills & (CLIPS.fps < view.fps - 1e-3)].any()


def test_each_clip_takes_all_its_views_in_turn():
    """Over as many epochs as there are views; what a clip does not have, another view replaces."""
    alone = [views.in_turn([view], CLIPS, 8)[0] for view in VIEWS]
    phases = views.in_turn(VIEWS, CLIPS, 8)
    assert len(phases) == 3
    for clip in range(500):
        possible = {made.at(clip) for made in alone if made.num_frames[clip]}
        taken = {made.at(clip) for made in phases if made.num_frames[clip]}
        assert taken == possible
    first = [phases[0].at(i) == alone[0].at(i) for i in range(500)]
    assert 0.2 < np.mean(first) < 0.7  # each clip begins at a view of its own


def numbered(frames, height, width, fps):
    """A record whose frame i has brightness 4 i."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video += (4 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    return VideoRecord(
        id="n",
        captions=(Caption("x", 0.0, 1.0),),
        fps=fps,
        num_frames=frames,
        height=height,
        width=width,
        video=media.encode_mp4(video, fps),
    )


def test_a_cut_has_the_frames_of_its_rate_from_a_moment_within_the_clip():
    record = numbered(33, 48, 64, 24.0)
    starts = set()
    for seed in range(12):
        video, start = views.cut(record, (8, 24, 32, 8.0), np.random.default_rng(seed))
        assert video.shape == (8, 24, 32, 3)
        seen = np.round(video.mean(axis=(1, 2, 3)) / 4).astype(int)
        assert np.array_equal(np.diff(seen), [3] * 7)
        assert seen[0] == round(start * 24)
        starts.add(start)
    assert len(starts) > 5
    again, _ = views.cut(record, (8, 24, 32, 8.0), np.random.default_rng(3))
    assert np.array_equal(again, views.cut(record, (8, 24, 32, 8.0), np.random.default_rng(3))[0])


def test_a_still_image_fills_a_chunk_and_a_whole_clip_is_itself():
    still = numbered(1, 16, 24, 8.0)
    video, start = views.cut(still, (4, 16, 24, 8.0), np.random.default_rng(0))
    assert video.shape == (4, 16, 24, 3) and start == 0
    assert np.array_equal(video[0], video[3])
    whole = numbered(8, 16, 24, 8.0)
    video, start = views.cut(whole, (8, 16, 24, 8.0), np.random.default_rng(0))
    assert start == 0 and np.array_equal(video, media.decode_mp4(whole.video))


def test_a_clip_that_is_shorter_than_it_states_is_refused():
    record = dataclasses.replace(numbered(8, 16, 24, 8.0), num_frames=16)
    with pytest.raises(UsageError, match="has 8 frames and frame"):
        views.cut(record, (16, 16, 24, 8.0), np.random.default_rng(0))
    latents = dataclasses.replace(record, video=None, latents=np.zeros((4, 2, 2, 1), np.float16))
    with pytest.raises(UsageError, match="latents only"):
        views.cut(latents, (16, 16, 24, 8.0), np.random.default_rng(0))


def test_clips_that_do_not_divide_into_tokens_are_no_clip():
    clips = Shapes(
        np.array([1, 8, 6, 8, 8]),
        np.array([16, 16, 16, 20, 16]),
        np.array([16, 16, 16, 16, 12]),
        np.full(5, 8.0),
    )
    assert views.stored(clips, (4, 8, 8)).num_frames.tolist() == [4, 8, 0, 0, 0]


@pytest.mark.parametrize("wrong", [{"fps": -1.0}, {"max_frames": 3}, {"max_area": 0}])
def test_views_of_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="shows nothing"):
        View(**wrong)
