"""If these fail, a control does nothing, does something else, or hides how it is done."""

import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.generate.controls import LIGHTINGS, PACINGS, Controls, direct, take
from sora_jax.generate.styles import STYLES, find_style, read_styles
from sora_jax.post.view import MOVES, PERSPECTIVES

WORDS = "a red circle moves left at night while the camera pans slowly in black and white".split()


def clip(count: int = 16) -> np.ndarray:
    """A red square on grey that goes right by two pixels a frame."""
    frames = np.full((count, 40, 80, 3), 120, np.uint8)
    for t in range(count):
        frames[t, 15:25, 4 + 2 * t : 14 + 2 * t] = (220, 30, 30)
    return frames


def test_without_controls_the_prompt_is_the_prompt_to_the_byte():
    found = direct(Controls(), "A  Red circle,", WORDS)
    assert found.prompt == "A  Red circle," and not found.done_by and not found.changes_frames


def test_what_the_model_has_words_for_is_said_and_nothing_is_done_to_the_pictures():
    wanted = Controls(lighting="night", camera="pan left", pacing="slow")
    found = direct(wanted, "a red circle", WORDS)
    assert found.prompt == "a red circle at night while the camera pans left slowly"
    assert set(found.done_by.values()) == {"words"} and not found.changes_frames


def test_a_word_that_is_missing_is_not_said_and_the_rest_is():
    found = direct(Controls(lighting="dusk", camera="pan left"), "a red circle", WORDS)
    assert found.prompt == "a red circle while the camera pans left"
    assert found.done_by == {"lighting": "finish", "camera": "words"}
    assert found.steps == (LIGHTINGS["dusk"][1],) and found.view is None


def test_numbers_are_always_done_to_the_pictures():
    wanted = Controls(lighting=0.0, camera="pan left:0.3", pacing=0.5)
    found = direct(wanted, "a red circle", WORDS)
    assert found.prompt == "a red circle" and set(found.done_by.values()) == {"finish"}
    assert found.view.amount == 0.3 and found.pace == 0.5
    assert found.steps == (LIGHTINGS["night"][1],)


def test_a_style_says_its_words_and_does_its_steps():
    found = direct(Controls(style="noir"), "a red circle", WORDS)
    assert found.prompt == "a red circle in black and white"
    assert found.done_by == {"style": "words and finish"}
    assert direct(Controls(style="noir"), "a red circle", ()).done_by == {"style": "finish"}


@pytest.mark.parametrize("pace", [0.25, 0.5, 0.8, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("shown", [8, 16, 40])
def test_pacing_shows_all_frames_and_goes_so_many_times_as_far(pace, shown):
    found = direct(Controls(pacing=pace), "", ())
    count = found.num_sampled(shown, 16)
    assert count % 4 == 0 and count >= min(16, shown)
    level = np.arange(count, dtype=float) * 200 / count
    ramp = np.broadcast_to(level[:, None, None, None], (count, 40, 80, 3)).astype(np.uint8)
    made = found.finish(ramp, shown)
    assert len(made) == shown
    speed = np.polyfit(np.arange(shown), made[:, 20, 40, 0].astype(float), 1)[0]
    assert speed == pytest.approx(pace * 200 / count, rel=0.1)


def test_pacing_of_a_thing_that_moves():
    made = direct(Controls(pacing=0.5), "", ()).finish(clip(), 16)
    reds = (made[..., 0].astype(int) - made[..., 1] > 60).sum(1)  # T W
    places = (reds * np.arange(80)).sum(1) / reds.sum(1)
    assert np.diff(places) == pytest.approx(1.0, abs=0.5)


def test_lighting_is_darker_the_nearer_to_night():
    made = [
        direct(Controls(lighting=x), "", ()).finish(clip(4), 4).mean() for x in (0, 0.3, 0.6, 1)
    ]
    assert np.all(np.diff(made) > 5) and made[-1] == clip(4).mean()


def test_every_name_can_be_done():
    for name in STYLES:
        assert direct(Controls(style=name), "a", ()).changes_frames
    for name in set(LIGHTINGS) - {"day"}:
        assert direct(Controls(lighting=name), "a", ()).changes_frames
    for name in MOVES:
        assert direct(Controls(camera=name), "a", ()).done_by == {"camera": "finish"}
    for name in PERSPECTIVES:
        assert direct(Controls(perspective=name), "a", ()).view.perspective == name
    for name, (_, pace) in PACINGS.items():
        assert direct(Controls(pacing=name), "a", ()).pace == pace


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"style": "noirr"}, "did you mean 'noir'.*noir, vivid, pastel"),
        ({"lighting": "nigth"}, "did you mean 'night'"),
        ({"lighting": "1.5"}, "from 0 .night. to 1"),
        ({"lighting": "nan"}, "finite"),
        ({"perspective": "upside"}, "no perspective 'upside'"),
        ({"camera": "pan lft"}, "did you mean 'pan left'"),
        ({"camera": "pan left:far"}, "NAME:AMOUNT"),
        ({"camera": "pan left:2"}, "at most 1"),
        ({"pacing": "0.1"}, "from 0.25 to 4"),
        ({"pacing": "quick"}, "no pacing 'quick'"),
        ({"styles": "mine.yaml"}, "say which by --style"),
        ({"style": "noir", "styles": "nothing.yaml"}, "no file of styles"),
    ],
)
def test_a_control_that_there_is_not_is_refused_with_what_there_is(wishes, message):
    with pytest.raises(UsageError, match=message):
        direct(take(wishes)[0], "a red circle", WORDS)


def test_take_leaves_what_is_no_control():
    controls, rest = take({"style": "noir", "steps": 3})
    assert controls == Controls(style="noir") and rest == {"steps": 3}


def test_a_file_of_styles_is_read_and_shadows_a_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("noir:\n  prompt: '{prompt} left'\n  cfg_scale: 3\n  post: {warmth: 0.5}\n")
    found = direct(Controls(style="noir", styles=path), "a red circle", WORDS)
    assert found.prompt == "a red circle left" and found.cfg_scale == 3
    assert found.steps[0].warmth == 0.5 and find_style("noir").post["saturation"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no styles"),
        ("[1", "is not YAML"),
        ("a: 3", "must have fields"),
        ("a: {prmpt: x}", "did you mean 'prompt'"),
        ("a: {prompt: blue}", "must have {prompt} in it"),
        ("a: {cfg_scale: high}", "must have a number"),
        ("a: {negative: 3}", "must have text"),
        ("a: {post: [1]}", "must have steps below it"),
        ("a: {post: {contrst: 1}}", "did you mean 'contrast'"),
        ("a: {post: {contrast: 9}}", "contrast 9 is not a number from 0 to 4"),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_styles(path)
