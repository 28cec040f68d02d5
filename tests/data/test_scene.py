"""Properties of the toy world's scenes."""

import itertools

import numpy as np
import pytest

from sora_jax.data.motion import camera_path, track
from sora_jax.data.scene import LEVELS, Scene, get_level, is_heldout, sample_scene, triples
from sora_jax.data.shapes import SHAPES, distance

SEEDS = range(300)


def looks(scene: Scene):
    """All (shape, colour, motion) that a scene shows, before and after its change."""
    for item in scene.objects:
        yield item.shape, item.colour, item.motion
        if scene.change is not None:
            yield scene.change.shape, scene.change.colour, item.motion


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_scene_is_determined_by_its_seed(level, split):
    scenes = [sample_scene(level, seed, split=split) for seed in SEEDS]
    assert scenes == [sample_scene(level, seed, split=split) for seed in SEEDS]
    assert len(set(scenes)) == len(scenes)


@pytest.mark.parametrize("level", LEVELS)
def test_json_gives_the_scene_back(level):
    for seed in SEEDS:
        scene = sample_scene(level, seed)
        text = scene.to_json()
        assert Scene.from_json(text) == scene and "\n" not in text


@pytest.mark.parametrize("level", LEVELS)
def test_heldout_triples_never_occur_in_training_and_the_other_way_round(level):
    for seed in range(1000):
        for split in ("train", "heldout"):
            for look in looks(sample_scene(level, seed, split=split)):
                assert is_heldout(level, *look) == (split == "heldout")


@pytest.mark.parametrize("level", LEVELS)
def test_training_has_every_pair_and_lacks_a_fifth_of_the_triples(level):
    train, heldout = triples(level, "train"), triples(level, "heldout")
    assert not set(train) & set(heldout)
    assert 0.17 < len(heldout) / len(train + heldout) < 0.23
    for first, second in itertools.combinations(range(3), 2):
        pairs = {(look[first], look[second]) for look in train + heldout}
        assert {(look[first], look[second]) for look in train} == pairs


@pytest.mark.parametrize("level", LEVELS)
def test_sampling_reaches_every_word_of_the_level(level):
    spec = get_level(level)
    scenes = [sample_scene(level, seed) for seed in range(1000)]
    assert {look for scene in scenes for look in looks(scene)} <= set(triples(level, "train"))
    for name, words in (
        ("background", spec.backgrounds),
        ("light", spec.lights),
        ("style", spec.styles),
        ("camera", spec.cameras),
        ("kind", tuple(spec.kinds)),
    ):
        assert {getattr(scene, name) for scene in scenes} == set(words)
    seen = np.array([[scene.kind == kind for kind in spec.kinds] for scene in scenes]).mean(0)
    assert np.abs(seen - list(spec.kinds.values())).max() < 0.05


@pytest.mark.parametrize("level", LEVELS)
def test_objects_stay_whole_inside_the_frame_and_in_their_half(level):
    for seed in SEEDS:
        scene = sample_scene(level, seed)
        shift, zoom = camera_path(scene.camera, scene.num_frames)
        middle = scene.size / 2
        for index, item in enumerate(scene.objects):
            path = track(item, scene.num_frames)
            x = middle + (path.x - middle) * zoom + shift
            y = middle + (path.y - middle) * zoom
            span = SHAPES[item.shape].reach * path.radius * zoom
            low, high = 0.0, float(scene.size)
            if len(scene.objects) == 2:
                low, high = ((0.0, middle), (middle, high))[index]
            assert (x - span).min() >= low and (x + span).max() <= high
            assert (y - span).min() >= 0 and (y + span).max() <= scene.size


def test_small_motions_can_be_read_at_a_glance():
    for seed in SEEDS:
        item = sample_scene("small", seed).objects[0]
        path = track(item, 16)
        way = np.hypot(np.ptp(path.x), np.ptp(path.y))
        area = (path.radius[-1] / path.radius[0]) ** 2
        assert way >= 8 if item.motion in ("left", "right", "up", "down") else way == 0
        assert area >= 1.6 if item.motion == "grow" else area == 1


def test_a_change_is_on_a_half_second_and_changes_everything_but_the_motion():
    for seed in SEEDS:
        scene = sample_scene("full", seed, kind="change")
        assert scene.change.time in (0.5, 1.0, 1.5)
        assert scene.cut_frame in (4, 8, 12)
        assert scene.change.shape != scene.objects[0].shape
        assert scene.change.colour != scene.objects[0].colour
        assert scene.change.background != scene.background


def test_two_objects_differ_in_shape_and_colour():
    for seed in SEEDS:
        first, second = sample_scene("full", seed, kind="two").objects
        assert first.shape != second.shape and first.colour != second.colour


def test_a_rotating_shape_shows_its_turn():
    for split in ("train", "heldout"):
        for shape, _, motion in triples("full", split):
            assert motion != "rotate" or SHAPES[shape].symmetry > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_reach_its_symmetry_and_its_centre(shape):
    grid = np.arange(200) + 0.5
    middle, radius = np.array([100.0]), np.array([70.0])

    def inside(degrees: float) -> np.ndarray:
        angle = np.radians([degrees])
        return distance(shape, (grid, grid), (middle, middle), radius, angle)[0] < 0

    picture = inside(0.0)
    rows, columns = np.nonzero(picture)
    reach = np.hypot(rows - 99.5, columns - 99.5).max() / 70
    assert abs(reach - SHAPES[shape].reach) < 0.03
    assert abs(rows.mean() - 99.5) < 1 and abs(columns.mean() - 99.5) < 1
    symmetry = SHAPES[shape].symmetry
    assert (picture ^ inside(symmetry or 17.0)).mean() < 0.002
    if symmetry:
        assert (picture ^ inside(symmetry / 2)).mean() > 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_scene("huge", 0), "unknown toy world level 'huge': choose one of small"),
        (lambda: sample_scene("small", 0, split="test"), "split 'test': choose train or heldout"),
        (lambda: sample_scene("small", 0, kind="two"), "small has no kind 'two': choose one"),
    ],
)
def test_unknown_words_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
