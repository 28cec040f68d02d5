"""If these fail, clips of another size, rate or shape are placed where the model never saw one."""

import numpy as np
import pytest

from sora_jax.canvas import META
from sora_jax.data.geometry import CHUNK_FRAMES, NUM_META, clip_geometry, hold_first


def test_positions_are_centred_seconds_and_mean_sides():
    clip = clip_geometry((3, 2, 4), fps=8.0, size=(16, 32))
    assert clip.position.shape == clip.index.shape == (24, 3)
    np.testing.assert_allclose(clip.position[:, 1:].mean(0), 0, atol=1e-6)
    # 12 frames at 8 fps: chunks of half a second with their middles at .25, .75 and 1.25.
    np.testing.assert_allclose(clip.frame_seconds, [0.25, 0.75, 1.25])
    np.testing.assert_array_equal(clip.frame_seconds[clip.frame], clip.position[:, 0])
    # Square latents stay square, in units of sqrt(16 * 32) pixels.
    step = 8 / np.sqrt(16 * 32)
    np.testing.assert_allclose(np.unique(np.diff(np.unique(clip.position[:, 1]))), step, rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.unique(clip.position[:, 2])), step, rtol=1e-5)


def test_a_longer_clip_begins_like_a_shorter_one():
    short, long = (clip_geometry((n, 2, 2), fps=8.0, size=(16, 16)) for n in (2, 4))
    np.testing.assert_array_equal(short.position, long.position[: len(short.position)])
    np.testing.assert_array_equal(short.index, long.index[: len(short.index)])


def test_tokens_are_listed_as_reshape_lists_them():
    grid = (2, 3, 4)
    clip = clip_geometry(grid, fps=8.0, size=(24, 32))
    values = np.arange(24).reshape(grid)
    np.testing.assert_array_equal(values[tuple(clip.index.T)], values.reshape(-1))


def test_meta_names_the_columns_of_the_canvas():
    clip = clip_geometry((5, 1, 1), fps=12.0, size=(8, 8))
    assert NUM_META == len(META) and META[:2] == ("fps", "seconds")
    np.testing.assert_allclose(clip.meta[:, 0], 12 / 24)
    np.testing.assert_allclose(clip.meta[:, 1], 5 * CHUNK_FRAMES / 12 / 10)
    assert not clip.meta[:, 2:].any()


@pytest.mark.parametrize("bad", [dict(grid=(0, 1, 1)), dict(fps=0.0), dict(size=(0, 8))])
def test_an_empty_clip_is_refused(bad):
    with pytest.raises(ValueError, match="positive"):
        clip_geometry(**{"grid": (1, 1, 1), "fps": 8.0, "size": (8, 8)} | bad)


def test_a_held_clip_stands_still_for_a_chunk_and_goes_on_from_there():
    video = np.random.default_rng(0).integers(0, 256, (12, 2, 2, 3)).astype(np.uint8)
    held = hold_first(video)
    assert held.shape == video.shape
    assert not np.ptp(held[:CHUNK_FRAMES], axis=0).any()
    np.testing.assert_array_equal(held[CHUNK_FRAMES - 1 :], video[: 12 - CHUNK_FRAMES + 1])
