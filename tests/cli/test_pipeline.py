"""The whole path in small: from data to report, and what may go wrong with its directory."""

import json

import pytest

from sora_jax import config
from sora_jax.cli import main, pipeline
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.data import index
from sora_jax.errors import UsageError
from tests.data_pipelines.test_folder import write_clip

SMOKE = ["train", "--config", "quickstart:smoke", "--wandb", "offline"]


def run(capsys, *words):
    code = main.main([*words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run."""
    workdir = tmp_path_factory.mktemp("runs") / "smoke"
    assert main.main([*SMOKE, "--workdir", str(workdir), "--json"]) == 0
    return workdir


def test_a_run_leaves_what_the_contract_names(finished):
    for name in (
        "config.json",
        "checkpoints",
        "metrics.jsonl",
        "samples/000006/0.mp4",
        "samples/000006/contact_sheet.png",
        "wandb",
        "report.html",
        "bundle/MANIFEST.json",
    ):
        assert (finished / name).exists(), name
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert any("heldout_loss" in line for line in lines)


def test_the_report_has_the_fields_of_the_contract(finished):
    report = json.loads((finished / "report.json").read_text())
    assert set(report["minutes"]) == {"setup", "data", "vae", "dit", "eval", "total"}
    assert set(report["oracle"]) == {"real", "round_trip"}
    assert set(report["vae"]) == {"psnr", "linear_psnr", "compression", "params"}
    assert set(report["dit"]) == {
        "params",
        "steps",
        "samples_seen",
        "steps_per_second",
        "compiles",
        "matmul_share",
    }
    world = report["toyworld"]
    assert set(world["controls"]) == {"shuffled_captions", "unconditional", "nearest_train"}
    keys = {"colour", "shape", "motion", "background", "all", "n", "interval"}
    for part in (world["seen"], world["heldout"], *world["controls"].values()):
        assert keys <= set(part)
    assert report["oracle"]["real"] >= 0.99
    assert report["dit"]["compiles"] == 1
    assert {"known_psnr", "motion", "all"} <= set(report["animate"])
    assert {"known_psnr", "continues", "backward_continues"} <= set(report["extend"])
    assert {"sample_seconds", "machine", "versions", "commit", "command"} <= set(report)


def test_its_model_generates(finished, tmp_path, capsys):
    """The run directory is a model; the clip has the trained length and a contact sheet."""
    out = tmp_path / "out.mp4"
    code, text, _ = run(
        capsys, "generate", str(finished), "-p", "a red circle", "-o", str(out), "--json"
    )
    assert code == 0
    assert json.loads(text.splitlines()[-1])["output"] == str(out)
    assert out.stat().st_size > 500


def test_a_restart_takes_the_vocabulary_that_was_kept_of_these_clips_alone(finished, tmp_path):
    cfg = config.load_json(ExperimentConfig, finished / "config.json")
    run = pipeline.open_run(cfg, tmp_path / "again")
    words = pipeline.make_tokenizer(run, finished / "data").words
    path = run.workdir / "vocabulary.json"
    kept = json.loads(path.read_text())
    assert kept == json.loads((finished / "vocabulary.json").read_text())
    kept["tokenizer"]["words"] = ["aardvark"]
    path.write_text(json.dumps(kept))
    assert pipeline.make_tokenizer(run, finished / "data").words == ("aardvark",)
    path.write_text(json.dumps(kept | {"clips": "others"}))
    assert pipeline.make_tokenizer(run, finished / "data").words == words


def test_a_directory_of_another_config_is_refused_by_field(finished, capsys):
    before = (finished / "config.json").read_text()
    code, _, err = run(capsys, *SMOKE, "--workdir", str(finished), "--config.dit.model.width=48")
    assert code == 2
    assert "dit.model.width (32 -> 48)" in err.splitlines()[-1]
    assert (finished / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config.dit.model.widht=48"], "did you mean 'width'"),
        (["--config.dit.model.width=wide"], "dit.model.width"),
        (["--minutes", "0"], "--minutes 0 must be positive"),
        (["--minutes", "-3"], "--minutes -3 must be positive"),
    ],
)
def test_a_wrong_setting_is_one_line_and_makes_no_directory(words, expected, tmp_path, capsys):
    workdir = tmp_path / "run"
    code, _, err = run(capsys, *SMOKE, "--workdir", str(workdir), *words)
    assert code == 2
    assert expected in err.splitlines()[-1]
    assert not workdir.exists()


def test_a_folder_that_is_none_is_named(tmp_path, capsys):
    missing = tmp_path / "videos"
    code, _, err = run(capsys, "quickstart", "--data", str(missing))
    assert code == 2
    assert f"--data {missing} is not a folder" in err


def test_problems_of_a_folder_are_told_before_anything_is_trained(tmp_path, capsys):
    """A truncated video and a missing caption, both in one line."""
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42 cut short")
    (folder / "a.txt").write_text("a dog")
    (folder / "b.mp4").write_bytes(b"")
    workdir = tmp_path / "run"
    code, _, err = run(
        capsys,
        "quickstart",
        "--data",
        str(folder),
        "--workdir",
        str(workdir),
        "--wandb",
        "disabled",
    )
    assert code in (2, 5)
    last = err.splitlines()[-1]
    assert "a.mp4" in last and "b" in last
    assert not (workdir / "vae").exists()


def test_a_run_is_not_mixed_from_two_states_of_a_folder(tmp_path):
    """Going on with the same files is free; with another caption it is refused."""
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos, "a", seconds=4)
    settings = {"data.source": str(videos)}
    cfg = config.resolve(ExperimentConfig, config.load("videos:smoke", settings))
    opened = pipeline.open_run(cfg, tmp_path / "run", "disabled")
    manifest = pipeline.prepare_data(opened) / index.MANIFEST
    before = manifest.stat().st_mtime_ns
    pipeline.prepare_data(opened)
    assert manifest.stat().st_mtime_ns == before
    (videos / "a.txt").write_text("another thing moves")
    with pytest.raises(UsageError, match="not those that .* was begun with"):
        pipeline.prepare_data(opened)


def test_a_run_goes_on_on_another_mesh_but_not_with_other_settings(tmp_path):
    def opened(**settings):
        cfg = config.resolve(ExperimentConfig, config.load("quickstart:smoke", settings))
        return pipeline.open_run(cfg, tmp_path / "run", "disabled")

    opened()
    opened(**{"mesh.data": "2", "dit.loop.watchdog.step": "10.0"})
    with pytest.raises(UsageError, match=r"another config: dit\.loop\.seed"):
        opened(**{"dit.loop.seed": "1"})
