"""If these fail, an editing tool can be called good that is not."""

import numpy as np
import pytest

from data_pipelines.toyworld.render import render
from sora_jax.cli import evaluate
from sora_jax.eval import edits, formats, seams, timed
from sora_jax.eval.subjects import Subjects
from tests.eval.toy_model import SETTINGS, draw_clips, make_engine


def test_steps_and_the_seam_are_differences_of_frames():
    level = np.array([0, 10, 30, 60], np.uint8)
    video = np.broadcast_to(level[None, :, None, None, None], (1, 4, 8, 8, 3))
    np.testing.assert_allclose(seams.steps(video), [[10, 20, 30]])
    np.testing.assert_allclose(seams.seam(video), [60])


def test_rank_correlation_asks_for_order_alone():
    x = np.arange(6.0)
    assert seams.spearman(x, np.exp(x)) == pytest.approx(1)
    assert seams.spearman(x, -x) == pytest.approx(-1)
    assert seams.spearman(x, np.array([0, 0, 1, 1, 2, 2.0])) == pytest.approx(0.956, abs=0.01)
    assert abs(seams.spearman(x, np.array([3, 5, 0, 4, 1, 2.0]))) < 0.6


def test_paths_agree_along_the_way_that_is_gone():
    there = np.stack([np.linspace(0, 10, 16), np.full(16, 5.0)], -1)
    assert seams.agreement(2 * there + 3, there) == pytest.approx(1)
    assert seams.agreement(there[::-1], there) == pytest.approx(-1)
    assert seams.agreement(np.zeros((16, 2)), there) == 0
    assert seams.agreement(there, np.zeros((16, 2))) is None  # nothing to agree with


def test_another_colour_is_all_that_differs():
    for clip in draw_clips(4, "heldout"):
        changed = edits.other_colour(clip.scene)
        assert changed.objects[0].colour != clip.scene.objects[0].colour
        assert changed.objects[0].motion == clip.scene.objects[0].motion
        assert edits.other_colour(changed).background == clip.scene.background


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Two clips, and a model of random weights."""
    clips = draw_clips(2, "heldout")
    return Subjects(
        engine=make_engine(tmp_path_factory.mktemp("model")),
        settings=SETTINGS,
        clips=clips,
        recoloured=[(edits.other_colour(clip.scene), "a blue circle moves left") for clip in clips],
        still=[(clip.scene, "a red circle") for clip in clips],
        boards=[
            ((clip.scene, "a red circle"), (edits.other_colour(clip.scene), "a blue circle"))
            for clip in clips
        ],
    )


@pytest.fixture(scope="module")
def lines(subjects):
    """All tools of it; a minute has but a few seconds."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "RATIOS", ("1:1", "16:9", "9:16"))
        patch.setattr(formats, "SHORT", 2)
        patch.setattr(formats, "LONG", 6)
        found = edits.evaluate_edits(subjects, progress=lambda *what: told.append(what))
    assert told[-1] == ("edits", len(found.figures), len(found.figures))
    return found.figures


def test_random_weights_fail_where_weights_matter(lines):
    assert not any(
        lines[name]["ok"] for name in ("animate", "extend", "blend", "recut", "storyboard", "remix")
    )


def test_what_is_kept_by_construction_is_kept_by_random_weights_too(lines):
    assert lines["recut"]["kept_identical"]
    assert lines["recut"]["frames"] == lines["recut"]["frames_wanted"]
    assert lines["remix"]["zero_is_reconstruction"] and lines["remix"]["one_is_text_to_video"]
    for name, case in (("extend", "forward"), ("extend", "backward"), ("animate", "two")):
        assert lines[name][case]["kept_identical"]
    assert lines["formats"]["programs"] <= lines["formats"]["row_lengths"] == 2
    minute = lines["formats"]["minute"]
    assert minute["frames"] == 48 and minute["frames_wanted"] == 48
    assert lines["blend"]["kept_identical"] and lines["remix"]["outside_identical"]
    assert lines["loop"]["no_double"] == 1 and lines["loop"]["no_double_repeated"] == 0


def test_cards_are_right_on_real_cuts_at_their_time_alone(subjects):
    """The judge of boards, on clips whose colour really changes: at the right time, too late, not.

    A clip of the second colour is the same scene, so halves of both make the cut.
    """
    scenes = [subjects.scenes, [scene for scene, _ in subjects.recoloured]]
    before, after = (np.stack([render(scene) for scene in side]) for side in scenes)
    half = subjects.half

    def judged(frame):
        """With the change at a frame: cards right, the rest unchanged, in time."""
        cut = np.concatenate([before[:, :frame], after[:, frame:]], axis=1)
        pairs = zip(cut, scenes[1], strict=True)
        return (
            timed._cards_right(cut, scenes, half),
            timed._unchanged(cut, scenes[0], half),
            [timed._changes_at(video, scene, half) for video, scene in pairs],
        )

    assert judged(half) == (1, 1, [True, True])
    assert judged(half + 6) == (0, 1, [False, False])
    assert judged(16) == (0, 1, [False, False])


def test_subjects_are_held_out_clips_and_still_captions():
    drawn = evaluate.draw_subjects("small", 3)
    assert all(clip.scene.kind == "one" for clip in drawn["clips"])
    assert len(drawn["clips"]) == len(drawn["recoloured"]) == len(drawn["still"]) == 3
    for clip, (scene, text) in zip(drawn["clips"], drawn["recoloured"], strict=True):
        assert scene.objects[0].colour in text
        assert clip.scene.objects[0].colour in clip.prompt
