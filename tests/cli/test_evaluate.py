"""`evaluate` judges on scenes of its own and says the same to people and to programs."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from sora_jax.cli import evaluate
from sora_jax.cli import main as cli
from sora_jax.errors import UsageError
from sora_jax.eval import suite
from sora_jax.eval.running import Evaluation
from tests.eval.test_report import make_figures
from tests.tiny_model import tiny_parts, write_tiny


@pytest.fixture
def model(tmp_path):
    """A run directory with a bundle of the small level's geometry."""
    sampling = dataclasses.replace(tiny_parts()["sampling"], size=(32, 32))
    run = tmp_path / "run"
    run.mkdir()
    write_tiny(run / "bundle", sampling=sampling)
    return run


@pytest.fixture
def judged(monkeypatch):
    """What the suite was called with; it answers at once."""
    calls = []

    def answer(engine, settings, sets, *, n, progress):
        calls.append((sets, n))
        progress("generate", n, n)
        figures = make_figures()
        figures["sample_seconds"] = 1.5
        return Evaluation(figures=figures, examples=())

    monkeypatch.setattr(suite, "evaluate_toyworld", answer)
    monkeypatch.setattr(evaluate, "NUM_TRAIN", 4)
    return calls


def test_figures_are_written_beside_the_run_and_printed(capsys, model, judged):
    assert cli.main(["evaluate", str(model), "--n", "3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((model / "evaluation.json").read_text())
    assert written.items() <= printed.items()
    assert written["toyworld"]["seen"]["all"] == 0.99 and written["level"] == "small"
    sets, n = judged[0]
    assert n == len(sets.seen) == len(sets.heldout) == 3 and len(sets.train) == 4


def test_people_get_a_line_for_each_set(capsys, model, judged):
    assert cli.main(["evaluate", str(model), "--n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (seen,) = [line for line in lines if line.startswith("seen ")]
    assert "all 0.990" in seen and "256 clips" in seen
    assert any(line.startswith("unconditional ") for line in lines)


def test_an_exported_bundle_is_left_as_it_is(tmp_path, model, judged):
    bundle = shutil.copytree(model / "bundle", tmp_path / "exported")
    before = sorted(path.name for path in bundle.iterdir())
    assert cli.main(["evaluate", str(bundle), "--n", "2", "-o", str(tmp_path / "out.json")]) == 0
    assert sorted(path.name for path in bundle.iterdir()) == before
    assert json.loads((tmp_path / "out.json").read_text())["vae"]["psnr"] == 33.0


def test_mistakes_are_named_before_any_work(capsys, tmp_path, model, judged):
    write_tiny(tmp_path / "other")  # 16x16, no level's size
    for argv, message in (
        ([str(model), "--n", "1"], "--n 1 is not enough"),
        (
            [str(tmp_path / "other"), "--n", "2"],
            "no level of the toy world has clips of 16 frames of 16x16",
        ),
        ([str(model), "-o", str(tmp_path / "no" / "x.json")], "does not exist"),
        ([str(model), "--suite", "toyword"], "invalid choice"),
    ):
        assert cli.main(["evaluate", *argv]) == UsageError.exit_code
        assert message in capsys.readouterr().err
    assert not judged


def test_the_test_scenes_are_those_that_training_never_saw():
    sets = evaluate.draw_sets("small", 4, 4)
    seeds = {clip.scene.seed for clip in (*sets.seen, *sets.heldout)}
    assert min(seeds) >= 10**6 and len(seeds) == 4
    assert sets.train.shape == (4, 16, 32, 32, 3) and sets.train.dtype == np.uint8
