"""The suite tells a model that follows its prompts from one that does not."""

import dataclasses

import numpy as np
import pytest

from data_pipelines import shards
from sora_jax.data.schema import VideoRecord
from sora_jax.eval import reconstruction, suite
from sora_jax.eval.clips import load_clips
from sora_jax.eval.running import Runner
from sora_jax.eval.scores import tabulate
from sora_jax.eval.sets import ToyWorldSets, load_sets, stack
from sora_jax.eval.toyworld import Verdict, chance
from sora_jax.generate import extend, i2v, t2v
from sora_jax.generate.engine import Engine
from sora_jax.media import encode_mp4
from tests.eval.toy_model import SETTINGS, draw_clips, draw_sets, make_engine

N = 24


class Perfect(Engine):
    """Stands in for engine and tools: gives back real clips, found by what is asked for."""

    def __init__(self, tiny, sets: ToyWorldSets, answers=None):
        self.bundle, self.model, self.max_batch = tiny.bundle, tiny.model, 16
        clips = [*sets.seen, *sets.heldout]
        self.answers = answers or {}
        self._by_first = {clip.video[0].tobytes(): clip.video for clip in clips}
        self._by_half = {
            clip.video[half].tobytes(): clip.video
            for clip in clips
            for half in (slice(0, 8), slice(8, None))
        }
        self.sizes: set[int] = set()

    def encode(self, video):
        return video

    def decode(self, latents):
        return latents

    def generate(self, _, requests, settings):
        self.sizes.add(len(requests))
        return np.stack([self.answers[request.seed] for request in requests])

    def animate(self, _, images, requests, settings):
        """The held image, then the clip: its motion begins in the last held frame."""
        clips = np.stack([self._by_first[image.tobytes()] for image in images])
        return np.concatenate([np.repeat(clips[:, :1], 3, axis=1), clips[:, :13]], axis=1)

    def extend(self, _, videos, requests, settings, *, num_new, direction):
        assert num_new == 8
        return np.stack([self._by_half[video.tobytes()] for video in videos])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_engine(tmp_path_factory.mktemp("model"))


@pytest.fixture
def perfect(tiny, monkeypatch):
    sets = draw_sets(N)
    answers = {i: clip.video for i, clip in enumerate(sets.seen)}
    answers |= {suite._SEEDS["heldout"] + i: clip.video for i, clip in enumerate(sets.heldout)}
    others = draw_clips(N, "train", 5000)
    answers |= {suite._SEEDS["unconditional"] + i: clip.video for i, clip in enumerate(others)}
    model = Perfect(tiny, sets, answers)
    monkeypatch.setattr(t2v, "generate", model.generate)
    monkeypatch.setattr(i2v, "animate", model.animate)
    monkeypatch.setattr(extend, "extend", model.extend)
    return model


def test_a_perfect_model_scores_one_and_its_controls_stay_at_chance(perfect):
    found = suite.evaluate_toyworld(perfect, SETTINGS, draw_sets(N), n=N, linear_psnr=25.0)
    figures = found.figures
    assert figures["oracle"] == {"real": 1.0, "round_trip": 1.0}
    for name in ("seen", "heldout"):
        row = figures["toyworld"][name]
        assert {row[k] for k in ("colour", "shape", "motion", "background", "all")} == {1.0}, row
        assert row["n"] == N and row["interval"][0] > 0.85
    controls, level = figures["toyworld"]["controls"], chance("small")
    for name in ("shuffled_captions", "unconditional"):
        for key in ("colour", "shape", "motion", "background"):
            assert controls[name][key] < level[key] + 0.25, (name, key)
        assert controls[name]["all"] < 0.1
    assert figures["animate"]["motion"] == figures["animate"]["all"] == 1.0
    assert figures["extend"]["continues"] == figures["extend"]["backward_continues"] == 1.0
    assert figures["vae"]["linear_psnr"] == 25.0 and figures["vae"]["psnr"] == 99.0
    assert perfect.sizes == {16, 1}, "one size of batch, so one program, and single clips"


def test_a_model_that_copies_training_clips_is_caught(perfect):
    sets = draw_sets(N)
    for i in range(N):
        perfect.answers[suite._SEEDS["heldout"] + i] = sets.train[i]
    toyworld = suite.evaluate_toyworld(perfect, SETTINGS, sets, n=N).figures["toyworld"]
    assert toyworld["controls"]["nearest_train"]["copies"] == 1.0
    assert toyworld["controls"]["nearest_train"]["all"] == toyworld["heldout"]["all"] < 0.1
    assert suite._look_for_copies(stack(sets.heldout), sets, stack(sets.heldout))["copies"] == 0


def test_motion_that_starts_late_fails_animate(perfect, monkeypatch):
    def freeze(_, images, requests, settings):
        return np.repeat(images, 16, axis=1)

    monkeypatch.setattr(i2v, "animate", freeze)
    clips = [c for c in draw_sets(N).heldout if c.scene.objects[0].motion != "still"]
    sets = dataclasses.replace(draw_sets(N), heldout=tuple(clips))
    figures = suite.evaluate_toyworld(perfect, SETTINGS, sets, n=8).figures
    assert figures["animate"]["motion"] == 0.0
    assert figures["animate"]["known_psnr"] == figures["animate"]["own_psnr"]


def test_a_real_engine_runs_the_suite_and_keeps_what_it_is_given(tiny):
    sets = dataclasses.replace(draw_sets(N), train=None)
    calls: list[tuple[str, int, int]] = []
    found = suite.evaluate_toyworld(
        tiny, SETTINGS, sets, n=6, num_tools=5, progress=lambda *call: calls.append(call)
    )
    figures = found.figures
    for name, prefix in (("animate", ""), ("extend", ""), ("extend", "backward_")):
        assert figures[name][f"{prefix}known_psnr"] == reconstruction.MAX_PSNR, (name, prefix)
    assert figures["toyworld"]["controls"]["nearest_train"] is None
    assert figures["sample_seconds"] > 0
    assert calls[-1][1] == calls[-1][2], "progress ends at its total"
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    wrong = [e for e in found.examples if e.is_right is False]
    assert wrong and all(e.notes for e in wrong), "failures are shown with their reasons"


def test_sets_come_back_from_shards(tmp_path):
    clips = draw_clips(3, "train")

    def records(n):
        for i, clip in enumerate(clips[:n]):
            yield VideoRecord(
                id=f"{n}-{i}",
                captions=clip.captions,
                fps=8.0,
                num_frames=16,
                height=32,
                width=32,
                video=encode_mp4(clip.video, 8.0),
                extra={"scene": clip.scene.to_json()},
            )

    shards.write(tmp_path / "data", {name: records(3) for name in ("train", "seen", "heldout")})
    sets = load_sets(tmp_path / "data", 2, num_train=2)
    assert [clip.scene for clip in sets.seen] == [clip.scene for clip in clips[:2]]
    own = load_clips(tmp_path / "data", "seen")
    assert own.captions == tuple(clip.prompt for clip in clips)
    assert own.videos.shape == (3, 16, 32, 32, 3)
    assert sets.heldout[1].prompt == clips[1].prompt and sets.train.shape == (2, 16, 32, 32, 3)
    with pytest.raises(ValueError, match="has 3 clips and 4"):
        load_sets(tmp_path / "data", 4)


def test_no_place_keeps_its_scene_when_captions_are_shuffled():
    for n in (2, 3, 50):
        order = suite.derange(n, seed=n)
        assert sorted(order) == list(range(n)) and not (order == np.arange(n)).any()


def test_attributes_count_over_the_clips_that_decide_them():
    verdicts = [
        Verdict({"colour": True, "objects": False}, False, ("objects: swapped",)),
        Verdict({"colour": True}, True, ()),
    ]
    row = tabulate(verdicts)
    assert row["colour"] == 1.0 and row["objects"] == 0.0 and row["all"] == 0.5
    assert row["decided"] == {"objects": 1}


def test_batches_have_one_size_and_lose_nothing(tiny):
    sizes = []

    def run(rows):
        sizes.append(len(rows))
        return rows.astype(np.uint8)

    assert Runner(tiny, 10)("x", 10, run).tolist() == list(range(10))
    assert sizes == [4, 4, 4]
    assert Runner(tiny, 3)("x", 3, run).tolist() == [0, 1, 2]


def test_too_few_clips_is_a_usage_error(tiny):
    with pytest.raises(ValueError, match="25 clips are to be judged"):
        suite.evaluate_toyworld(tiny, SETTINGS, draw_sets(N), n=N + 1)
