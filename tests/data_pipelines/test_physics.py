"""Physics scenes: what is stored as truth is what the pixels show and what the captions say."""

import builtins
import colorsys
import dataclasses
import hashlib

import numpy as np
import pytest

from data_pipelines.physics import scene as scenes
from data_pipelines.physics import world
from data_pipelines.physics.records import SPLITS, PhysicsFormat, make_record
from data_pipelines.physics.scene import COLOURS, Thing
from sora_jax.data import records, schema
from sora_jax.errors import UsageError

FORM = PhysicsFormat(size=(48, 64), num_frames=16, fps=8.0)


@pytest.fixture(scope="module")
def made():
    """Clips of both splits. Skipped where MuJoCo or OpenGL is missing."""
    pytest.importorskip("mujoco")
    try:
        return {split: [make_record(FORM, split, i) for i in range(14)] for split in SPLITS}
    except UsageError as error:
        pytest.skip(str(error))


def hue_and_saturation(pixel):
    hue, saturation, _ = colorsys.rgb_to_hsv(*(float(value) / 255 for value in pixel))
    return hue, saturation


def test_the_same_seed_gives_the_same_bytes(made):
    """Also after other scenes were drawn in the same process, and another seed gives others."""
    again = make_record(dataclasses.replace(FORM), "train", 3)
    assert schema.to_fields(again) == schema.to_fields(made["train"][3])
    other = make_record(dataclasses.replace(FORM, seed=1), "train", 3)
    digests = {hashlib.sha256(r.video).hexdigest() for r in [*made["train"], other]}
    assert len(digests) == 15


def test_projected_centres_lie_on_pixels_of_the_colour(made):
    """Of every thing that no nearer one hides, in every frame: hue, or grey for white."""
    checked = 0
    for record in [*made["train"], *made["heldout"]]:
        frames, pixels = records.decode(record), np.array(record.extra["pixels"])
        for k, thing in enumerate(record.extra["scene"]["things"]):
            for t in range(len(frames)):
                if len(pixels[t]) > 1 and np.linalg.norm(pixels[t, 0] - pixels[t, 1]) < 12:
                    continue
                x, y = np.floor(pixels[t, k]).astype(int)
                hue, saturation = hue_and_saturation(frames[t, y, x])
                if thing["colour"] == "white":
                    assert saturation < 0.3, (record.id, t)
                else:
                    wanted, _ = hue_and_saturation(np.array(COLOURS[thing["colour"]]) * 255)
                    gap = abs(hue - wanted) % 1
                    assert min(gap, 1 - gap) < 0.06 and saturation > 0.3, (record.id, t)
                checked += 1
    assert checked > 400


def test_things_do_what_the_caption_says(made):
    """Directions, landing and pushing, read off the stored positions alone."""
    events = set()
    for record in [*made["train"], *made["heldout"]]:
        scene, facts = record.extra["scene"], record.extra["facts"]
        places, pixels = (np.array(record.extra[name]) for name in ("positions", "pixels"))
        events.add(scene["event"])
        text = record.caption
        assert scene["things"][0]["colour"] in text and scene["things"][-1]["shape"] in text
        if "left to right" in text or "rolls to the right" in text:
            assert pixels[-1, 0, 0] - pixels[0, 0, 0] > 0.15 * 64
            assert places[-1, 0, 0] > places[0, 0, 0] + 0.3
        if scene["event"] == "drop":
            assert places[0, 0, 2] > 0.9 and places[-1, 0, 2] < 0.6
            assert 0 < record.extra["landed"][0] < record.captions[0].end
        if "bounce" in text:
            after = places[int(record.extra["landed"][0] * FORM.fps) + 1 :, 0, 2]
            assert facts["bounces"] and np.diff(after).max() > 0.02
        if scene["event"] == "collide":
            moved = np.linalg.norm(places[-1, 1, :2] - places[0, 1, :2])
            assert (moved > 0.2) == facts["is_pushed"], record.id
            before = places[: int(record.extra["hit"] * FORM.fps), 1]
            assert np.abs(before - before[0]).max() < 0.02  # at rest until it is hit
    assert events == set(scenes.EVENTS)


def test_timed_captions_meet_at_the_event(made):
    timed = [r for r in made["train"] if len(r.captions) > 1]
    assert timed
    for record in timed:
        whole, before, after = record.captions
        moment = record.extra["hit"] or record.extra["landed"][0]
        assert (whole.start, before.start, after.end) == (0.0, 0.0, 2.0)
        assert before.end == after.start == pytest.approx(moment, abs=1e-3)


def test_a_rolling_ball_does_not_slip(made):
    """Half its turn is half its way: the angular velocity is that of the floor under it."""
    ball = Thing(
        shape="ball", colour="red", size="big", position=(-1, 0, 0.362), velocity=(1.0, 0, 0)
    )
    scene = scenes.Scene(
        event="roll",
        things=(ball,),
        direction="right",
        floor="gray",
        light="bright",
        camera="still",
        seconds=1.0,
    )
    motion = world.simulate(scene, 9, 8.0)
    way = motion.positions[-1, 0, 0] - motion.positions[0, 0, 0]
    assert way == pytest.approx(1.0, abs=0.05)
    assert motion.tilts[4, 0] == pytest.approx(np.degrees(way / 2 / 0.36), abs=6)


def test_held_out_compositions_are_never_trained_on():
    for split in SPLITS:
        rng = np.random.default_rng(0)
        drawn = [
            scenes.draw_scene(rng, held_out=split == "heldout", seconds=2.0) for _ in range(300)
        ]
        marks = {scenes.is_held_out(scene.event, scene.things[0]) for scene in drawn}
        assert marks == {split == "heldout"}
    colours = {scene.things[0].colour for scene in drawn}
    assert colours == set(COLOURS)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fps": 64.0}, "last 0.25 s"),
        ({"num_frames": 80}, "last 10.00 s"),
        ({"fps": 0.0}, "last 0.00 s"),
        ({"size": (47, 64)}, "64x47 can't be drawn"),
        ({"seed": -1}, "the seed is -1"),
    ],
)
def test_a_format_that_can_not_be_made_is_refused(change, expected):
    with pytest.raises(UsageError, match=expected):
        dataclasses.replace(FORM, **change)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImportError("No module named 'mujoco'"), r"pip install 'sora_jax\[data\]'"),
        (AttributeError("'NoneType' has no attribute 'eglQueryString'"), "libegl1 libgl1-mesa-dri"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, error, expected):
    """Without the package the import fails; without libEGL its import fails in another way."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "mujoco":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=expected) as found:
        make_record(FORM, "train", 0)
    assert "\n" not in str(found.value)
