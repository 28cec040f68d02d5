"""Shots end where scenes change: at hard cuts to the frame, around fades, and nowhere else."""

import numpy as np
import pytest

from data_pipelines.stages import shots
from data_pipelines.stages.shots import ShotsConfig
from tests.data_pipelines import films

pytest.importorskip("scenedetect", reason="needs the extra data: make data-film installs it")


def test_hard_cuts_are_found_to_the_frame_and_a_fast_pan_is_none(tmp_path):
    parts = [films.scene(1, 40), films.scene(2, 30, speed=8), films.scene(3, 33)]
    found = films.shots(films.write(tmp_path / "a.mp4", np.concatenate(parts)))
    assert [shot.extra["frames"] for shot in found] == [[0, 40], [40, 70], [70, 103]]
    assert [shot.cuts for shot in found] == [("file", "hard"), ("hard", "hard"), ("hard", "file")]
    assert found[1].span == pytest.approx((40 / 24, 70 / 24))
    assert len({shot.id for shot in found}) == 3


@pytest.mark.parametrize("target", ["scene", "black"])
def test_a_gradual_change_is_a_fade_and_belongs_to_no_shot(tmp_path, target):
    """A dissolve over a second into another scene or into black, which no frame pair shows."""
    one, two = films.scene(1, 84), films.scene(2, 84) // 4
    two = two if target == "scene" else np.zeros_like(two)
    frames = np.concatenate([one[:60], films.dissolve(one[60:], two[:24]), two[24:]])
    found = films.shots(films.write(tmp_path / "a.mp4", frames))
    assert len(found) == 2
    assert found[0].cuts == ("file", "fade") and found[1].cuts == ("fade", "file")
    end, start = found[0].extra["frames"][1], found[1].extra["frames"][0]
    assert 48 <= end <= 66 and 78 <= start <= 96


def test_motion_alone_is_no_fade():
    """All that changes in a pan is not explained by a mix of the pictures before and after."""
    pan = films.scene(1, 80, speed=4).mean(-1).astype(np.uint8)[:, ::4, ::3]
    assert shots.find_fades(pan, 24.0, ShotsConfig()) == []


def test_a_fade_at_the_start_of_a_file_begins_with_it():
    black = np.zeros((60, 18, 32), np.uint8)
    white = np.full((60, 18, 32), 200, np.uint8)
    mixed = np.linspace(0, 200, 30).astype(np.uint8)[:, None, None] + black[:30]
    ((first, end),) = shots.find_fades(np.concatenate([mixed, white]), 24.0, ShotsConfig())
    assert first == 0 and 20 <= end <= 45


def test_shots_leave_out_the_frames_of_fades():
    found = shots.split(100, [10, 80], [(40, 50)])
    assert found == [
        (0, 10, ("file", "hard")),
        (10, 40, ("hard", "fade")),
        (50, 80, ("fade", "hard")),
        (80, 100, ("hard", "file")),
    ]


def test_the_threshold_is_a_setting(tmp_path):
    parts = np.concatenate([films.scene(1, 40), films.scene(2, 40)])
    path = films.write(tmp_path / "a.mp4", parts)
    assert len(films.shots(path)) == 2
    assert len(films.shots(path, adaptive_threshold=250.0)) == 1
