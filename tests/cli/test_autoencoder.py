"""A run that trains the autoencoder alone: its directory, its resume, its bundle, its refusals."""

import json
import shutil

import numpy as np
import pytest

from sora_jax import config, media
from sora_jax.cli import main, pipeline
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.export.bundle import VAE_CONTENT, open_vae
from tests.data_pipelines.test_folder import write_clip

SMOKE = ["train", "--config", "quickstart:smoke", "--config.until=vae", "--logger", "none"]


def run(capsys, *words):
    """Run a command with --json. Gives (exit code, the object on stdout, stderr)."""
    code = main.main([str(word) for word in words] + ["--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished smoke run."""
    workdir = tmp_path_factory.mktemp("runs") / "vae"
    assert main.main([*SMOKE, "--workdir", str(workdir), "--json"]) == 0
    return workdir


def test_the_run_directory_is_that_of_every_run(finished):
    for name in (
        "config.json",
        "checkpoints",
        "metrics.jsonl",
        "samples/000006/0.mp4",
        "samples/000006/contact_sheet.png",
        "report.json",
        "report.html",
        "report.png",
        "bundle/vae.safetensors",
    ):
        assert (finished / name).exists(), name
    for name in ("vae", "latents", "bundle/dit.safetensors", "bundle/tokenizer.json"):
        assert not (finished / name).exists(), name
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert any("heldout_psnr" in line for line in lines)


def test_the_report_has_figures_of_held_out_clips_and_the_whole_command(finished):
    report = json.loads((finished / "report.json").read_text())
    assert {"psnr", "ssim", "linear_psnr", "compression", "flicker", "params"} <= set(report["vae"])
    assert report["clips"]["split"] == "heldout" and report["clips"]["n"] == 4
    assert report["training"]["steps"] == 6 and report["training"]["compiles"] == 1
    assert set(report["minutes"]) == {"setup", "data", "vae", "eval", "total"}
    assert "--config.until=vae" in report["command"]
    page = (finished / "report.html").read_text()
    assert "<video" in page and "PSNR in dB by steps" in page and "until" in page


def test_samples_show_source_reconstruction_and_error_side_by_side(finished):
    frames, fps = media.read_video(finished / "samples/000006/0.mp4")
    assert fps == 8.0 and len(frames) == 16
    assert frames.shape[2] == 3 * frames.shape[1]
    source, rebuilt, error = np.split(frames.astype(float), 3, axis=2)
    gap = np.abs(source - rebuilt).mean((0, 3))
    # The third picture is brighter where the first two differ more.
    assert np.corrcoef(gap.ravel(), error.mean((0, 3)).ravel())[0, 1] > 0.6


def test_the_same_command_goes_on_where_it_was(finished, tmp_path, capsys):
    """A run that lost its last checkpoint ends with the same weights, to the bit."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    before = open_vae(workdir).weights
    shutil.rmtree(workdir / "bundle")
    shutil.rmtree(max(path for path in (workdir / "checkpoints").iterdir() if path.is_dir()))
    code, result, _ = run(capsys, *SMOKE, "--workdir", workdir)
    assert code == 0 and result["model"] == str(workdir / "bundle")
    assert open_vae(workdir).weights == before


def test_the_bundle_holds_what_decodes_and_its_form(finished):
    opened = open_vae(finished)
    assert {path.name for path in opened.path.iterdir()} == {*VAE_CONTENT, "MANIFEST.json"}
    assert (opened.clips.size, opened.clips.num_frames, opened.clips.fps) == ((32, 32), 16, 8.0)
    assert len(opened.latents.shift) == opened.vae.channels == 4


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "-p", "a red circle", "-o", "out.mp4"],
        ["loop", "-p", "a red circle", "--seconds", "2", "-o", "out.mp4"],
        ["evaluate", "--n", "2"],
    ],
    ids=lambda words: words[0],
)
def test_verbs_that_need_a_transformer_say_so_in_one_line(
    finished, capsys, tmp_path, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    code, result, err = run(capsys, words[0], finished, *words[1:])
    assert code == 2 and "holds an autoencoder alone" in result["error"]
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_export_hands_on_the_same_autoencoder(finished, capsys, tmp_path):
    code, result, _ = run(capsys, "export", finished, "-o", tmp_path / "out")
    assert code == 0
    before, after = open_vae(finished), open_vae(tmp_path / "out")
    assert (before.vae, before.latents, before.weights) == (after.vae, after.latents, after.weights)
    assert "dB on held-out clips" in (tmp_path / "out" / "card.md").read_text()


def test_a_size_that_is_not_whole_latents_is_refused_before_any_work(capsys, tmp_path):
    sizes = ["--config.data.size=(36,32)", "--config.sampling.size=(36,32)"]
    code, result, _ = run(capsys, *SMOKE, "--workdir", tmp_path / "run", *sizes)
    assert code == 2 and "32x36" in result["error"] and "32x32 or 32x40" in result["error"]
    assert not (tmp_path / "run" / "data").exists()


def test_an_autoencoder_needs_no_captions(tmp_path):
    """A folder of videos alone will do; a transformer's training says what is missing."""
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos, "a", seconds=6, caption=None)
    write_clip(videos, "b", seconds=4, caption=None)

    def prepared(until):
        settings = {"data.source": str(videos), "until": until}
        cfg = config.resolve(ExperimentConfig, config.load("videos:smoke", settings))
        return pipeline.prepare_data(pipeline.open_run(cfg, tmp_path / until, "disabled"))

    assert (prepared("vae") / "MANIFEST.json").exists()
    with pytest.raises(ValueError, match=r"a\.txt is missing"):
        prepared("dit")


def test_a_run_of_both_and_one_of_the_autoencoder_alone_are_not_mixed(finished, capsys):
    words = [word for word in SMOKE if "until" not in word]
    code, result, _ = run(capsys, *words, "--workdir", finished)
    assert code == 2 and "until ('vae' -> 'dit')" in result["error"]
