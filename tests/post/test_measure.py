"""If these fail, a picture or clip is told to be like another one than it is."""

import cv2
import numpy as np
import pytest

from sora_jax.eval.finishing import scene
from sora_jax.post import measure
from sora_jax.post.view import MOVES, View, look


def test_the_palette_of_four_colours_is_those_with_their_shares():
    frame = np.zeros((64, 100, 3), np.uint8)
    for start, colour in ((0, (225, 30, 35)), (50, 255), (80, (35, 65, 225)), (95, 0)):
        frame[:, start:] = colour
    found = measure.palette([frame])
    assert [colour["name"] for colour in found] == ["red", "white", "blue", "black"]
    assert [colour["share"] for colour in found] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.01)
    for colour, wanted in zip(found, ("e11e23", "ffffff", "2341e1", "000000"), strict=True):
        channels = [int(colour["hex"][i : i + 2], 16) for i in (1, 3, 5)]
        assert channels == pytest.approx([int(wanted[i : i + 2], 16) for i in (0, 2, 4)], abs=3)


def test_one_colour_with_grain_is_one_colour():
    rng = np.random.default_rng(0)
    frame = np.clip(128 + rng.normal(0, 3, (64, 64, 3)), 0, 255).astype(np.uint8)
    assert [colour["name"] for colour in measure.palette([frame])] == ["gray"]


def test_textures_are_told_apart():
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 3), 90, np.uint8)
    fine = np.repeat(rng.integers(0, 256, (64, 64, 1)), 3, -1).astype(np.uint8)
    coarse = np.repeat(np.repeat(fine[:4, :4], 16, 0), 16, 1)
    kinds = [measure.texture(frame)["kind"] for frame in (flat, fine, coarse)]
    assert kinds == ["smooth", "fine", "coarse"]


def test_lines_that_meet_are_found_where_they_meet_and_a_plain_picture_has_none():
    frame = np.full((240, 320, 3), 40, np.uint8)
    for x in range(-160, 520, 60):
        cv2.line(frame, (200, 90), (x, 239), (230, 230, 230), 2)
    point = measure.depth(frame)["vanishing_point"]
    assert point == pytest.approx([200 / 320, 90 / 240], abs=0.04)
    assert measure.depth(np.full((240, 320, 3), 40, np.uint8)) == {
        "vanishing_point": None,
        "sharpest": "even",
    }


@pytest.mark.parametrize("move", MOVES)
def test_the_cameras_move_is_named_as_it_was_made(move):
    clip = look(scene(0), View(move=move, amount=0.3))
    (shot,) = measure.shots(clip)
    told = shot.told(8.0)
    assert told["camera"] == move and (told["start"], told["end"]) == (0.0, 2.0)


def test_shots_begin_at_cuts_and_nowhere_else():
    bright = np.full((6, 64, 64, 3), 200, np.uint8)
    found = measure.shots(np.concatenate([scene(0)[:7, :64, :64] // 2, bright]))
    assert [(shot.first, shot.last) for shot in found] == [(0, 6), (7, 12)]
    assert found[0].motion > 5 * found[1].motion


def test_grain_that_seems_to_move_now_and_then_is_no_camera():
    steps = [np.array([-0.03, 0, 0, 0])] * 5 + [np.zeros(4)] * 10
    shot = measure.Shot(0, 15, np.sum(steps, axis=0), moved=5)
    assert measure.camera_move(shot.path) == "pan right"
    assert shot.told(8.0)["camera"] == "still"
