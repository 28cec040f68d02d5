"""Views of a clip: all are seen, none is anything else, and a sample's is always the same."""

import functools

import numpy as np
import pytest

from sora_jax.data import loader
from sora_jax.data.augment import AugmentConfig, augment
from sora_jax.data.records import Columns

VIDEO = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)


def views(video: np.ndarray) -> set[bytes]:
    """The 16 that mirrors and reversal make of a square clip, written out."""
    found = set()
    for turned in (video, video.transpose(0, 2, 1, 3)):
        for x in (turned, turned[:, ::-1]):
            for y in (x, x[:, :, ::-1]):
                found |= {y.tobytes(), y[::-1].tobytes()}
    return found


def draw(cfg: AugmentConfig, count: int, video: np.ndarray = VIDEO) -> list[np.ndarray]:
    rngs = (np.random.default_rng(seed) for seed in range(count))
    return [augment(cfg, {"video": video}, rng)["video"] for rng in rngs]


def test_default_is_the_clip_itself():
    assert all(np.array_equal(seen, VIDEO) for seen in draw(AugmentConfig(), 8))


def test_all_views_of_a_square_are_seen_and_no_other():
    seen = {view.tobytes() for view in draw(AugmentConfig(mirror=True, reverse=True), 400)}
    assert seen == views(VIDEO) and len(seen) == 16


def test_what_is_not_asked_for_is_not_done():
    assert len({v.tobytes() for v in draw(AugmentConfig(reverse=True), 50)}) == 2
    # Pixels of a frame are moved, and frames stay where they are.
    sums = VIDEO.sum((1, 2, 3))
    mirrored = draw(AugmentConfig(mirror=True), 50)
    assert all(np.array_equal(view.sum((1, 2, 3)), sums) for view in mirrored)


def test_wide_clips_keep_their_size():
    wide = VIDEO[:, :4]
    assert {view.shape for view in draw(AugmentConfig(mirror=True), 50, wide)} == {wide.shape}


def test_frames_are_in_a_row_from_every_place_on():
    numbered = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 6, 3), np.uint8)
    seen = {tuple(v[:, 0, 0, 0]) for v in draw(AugmentConfig(frames=4), 100, numbered)}
    assert seen == {tuple(range(start, start + 4)) for start in range(5)}


def test_a_sample_is_seen_the_same_after_a_restart_and_another_way_in_the_next_epoch():
    make = functools.partial(augment, AugmentConfig(frames=4, mirror=True, reverse=True))
    source = Columns({"video": np.stack([VIDEO, VIDEO[::-1]])})

    def batches(start: int) -> loader.Batches:
        return loader.batches(source, batch_size=2, seed=0, transform=make, start_step=start)

    first = batches(0)
    went = [next(first)["video"] for _ in range(6)]
    again = batches(3)
    for video in went[3:]:
        np.testing.assert_array_equal(next(again)["video"], video)
    first.close()
    again.close()
    assert len({video.tobytes() for video in went}) > 3


@pytest.mark.parametrize("frames", [-4, 6])
def test_frames_that_are_no_chunks_are_refused(frames):
    with pytest.raises(ValueError, match=rf"frames is {frames}; give 0 .* multiple of 4"):
        AugmentConfig(frames=frames)
