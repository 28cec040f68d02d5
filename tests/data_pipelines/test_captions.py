"""Properties of captions."""

import dataclasses
import re

import pytest

from data_pipelines.toyworld.captions import captions
from sora_jax.data.motion import Object
from sora_jax.data.scene import LEVELS, Scene, sample_scene

SEEDS = range(400)
SAYS_MOTION = {
    **{way: (f" {way}",) for way in ("left", "right", "up", "down")},
    "still": ("stays still", "staying still", "not move", "not moving"),
    "grow": ("grow", "bigger"),
    "orbit": ("in circles",),
    "bounce": ("bounc",),
    "rotate": ("spin", "rotat"),
}


def test_the_plain_sentence_is_among_the_captions():
    item = Object(
        shape="circle", colour="red", motion="left", speed="none", x=16, y=16, radius=7, rate=0.7
    )
    scene = Scene(level="small", objects=(item,), background="white")
    texts = {captions(scene, seed)[0].text for seed in range(100)}
    assert "a red circle moves left on a white background" in texts
    assert len(texts) >= 6
    full = dataclasses.replace(scene, level="full", size=64)
    full = dataclasses.replace(full, objects=(dataclasses.replace(item, speed="slow"),))
    texts = {captions(full, seed)[0].text for seed in range(2000)}
    assert "a red circle moves left on a white background" in texts


@pytest.mark.parametrize("level", LEVELS)
def test_a_caption_says_everything_that_is_judged(level):
    for seed in SEEDS:
        scene = sample_scene(level, seed)
        text = captions(scene, seed)[0].text
        for item in scene.objects:
            assert f"{item.colour} {item.shape}" in text
            assert any(words in text for words in SAYS_MOTION[item.motion])
        assert f"a {scene.background} background" in text
        assert (scene.style == "outlined") == ("outlined" in text)
        for light in ("dusk", "night"):
            assert (scene.light == light) == (f"at {light}" in text)
        assert scene.camera == "still" or "camera" in text
        is_fast = "quickly" in text or "fast" in text.split()
        assert is_fast == any(item.speed == "fast" for item in scene.objects)
        if scene.change is not None:
            assert f"after {scene.change.time:.1f} seconds" in text


@pytest.mark.parametrize("level", LEVELS)
def test_captions_are_plain_words_of_bounded_number(level):
    limits = {"one": 12 if level == "small" else 28, "camera": 28, "two": 44, "change": 44}
    for seed in SEEDS:
        scene = sample_scene(level, seed)
        for caption in captions(scene, seed):
            assert re.fullmatch(r"([a-z]+|\d\.\d)( ([a-z]+|\d\.\d))*", caption.text)
            assert len(caption.text.split()) <= limits[scene.kind]


def test_a_change_is_told_whole_and_by_its_parts():
    for seed in SEEDS:
        scene = sample_scene("full", seed, kind="change")
        whole, before, after = captions(scene, seed)
        assert (whole.start, whole.end) == (0.0, scene.duration)
        assert (before.start, before.end) == (0.0, scene.change.time)
        assert (after.start, after.end) == (scene.change.time, scene.duration)
        assert whole.text.startswith(before.text) and whole.text.endswith(after.text)
        assert scene.change.colour in after.text and scene.objects[0].colour in before.text


def test_other_scenes_have_one_caption_for_the_whole_clip():
    for seed in SEEDS:
        (caption,) = captions(sample_scene("small", seed), seed)
        assert (caption.start, caption.end) == (0.0, 2.0)


def test_two_objects_are_told_by_their_sides():
    for seed in SEEDS:
        scene = sample_scene("full", seed, kind="two")
        text = captions(scene, seed)[0].text
        for item, side in zip(scene.objects, ("left", "right"), strict=True):
            assert f"{item.colour} {item.shape} on the {side}" in text


def test_words_depend_on_the_seed_alone():
    scene = sample_scene("full", 7)
    assert captions(scene, 5) == captions(scene, 5)
    assert len({captions(scene, seed)[0].text for seed in range(30)}) > 5
