"""If these fail, a wide video is judged by other rules than a square one."""

import numpy as np
import pytest

from data_pipelines.toyworld.render import render
from sora_jax.data.scene import sample_scene
from sora_jax.errors import UsageError
from sora_jax.eval import formats, toyworld
from sora_jax.eval.scores import judge_all


@pytest.mark.parametrize("ratio", formats.RATIOS)
def test_a_size_is_the_nearest_to_its_ratio(ratio):
    height, width = formats.find_size(ratio, 32 * 32, 8)
    across, down = map(float, ratio.split(":"))
    assert height % 8 == width % 8 == 0 and 0.7 < height * width / 1024 < 1.42
    off = abs(np.log(width / height * down / across))
    for h, w in (
        (height + 8, width),
        (height, width + 8),
        (height - 8, width),
        (height, width - 8),
    ):
        if 0.7 < h * w / 1024 < 1.42:
            assert abs(np.log(w / h * down / across)) >= off


def test_the_square_and_its_turn_come_out_alike():
    assert formats.find_size("1:1", 1024, 8) == (32, 32)
    assert formats.find_size("16:9", 1024, 8) == formats.find_size("9:16", 1024, 8)[::-1]
    with pytest.raises(UsageError, match="'wide' is not WIDTH:HEIGHT"):
        formats.find_size("wide", 1024, 8)


@pytest.mark.parametrize("pad", [((8, 0), (0, 0)), ((0, 0), (8, 16)), ((4, 4), (2, 6))])
def test_more_background_around_a_scene_changes_no_verdict(pad):
    scenes = [sample_scene("small", seed) for seed in range(12)]
    videos = np.stack([render(scene) for scene in scenes])
    wide = np.pad(videos, ((0, 0), (0, 0), *pad, (0, 0)), mode="edge")
    assert [v.all for v in judge_all(wide, scenes)] == [v.all for v in judge_all(videos, scenes)]
    assert not any(v.all for v in judge_all(wide, scenes[1:] + scenes[:1]))


def test_odd_sides_and_textured_levels_are_refused():
    scene = sample_scene("small", 0)
    with pytest.raises(ValueError, match="is not uint8"):
        toyworld.judge(np.zeros((16, 31, 32, 3), np.uint8), scene)
    with pytest.raises(ValueError, match="is not uint8"):
        toyworld.judge(np.zeros((16, 64, 80, 3), np.uint8), sample_scene("full", 0))
