"""`evaluate --suite vae` on the toy world, on shards and on a folder, and what it refuses."""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest

from data_pipelines import folder, shards
from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.cli import vae_features
from sora_jax.data import records
from sora_jax.train import vae_run
from tests.data_pipelines.test_folder import write_clip
from tests.tiny_model import tiny_parts, write_tiny

FORM = folder.ClipFormat(size=(32, 32), num_frames=16, fps=8.0)


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    """Features of frozen networks have their own tests; here they would only take time."""
    monkeypatch.setattr(vae_features, "find", lambda size, lpips: ([], []))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle whose clips are those of the small toy world."""
    sampling = dataclasses.replace(tiny_parts()["sampling"], size=(32, 32))
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny", sampling=sampling)


@pytest.fixture
def videos(tmp_path):
    """A folder of two videos, of which the first has three windows."""
    directory = tmp_path / "videos"
    directory.mkdir()
    write_clip(directory, "a", seconds=6, caption=None)
    write_clip(directory, "b", seconds=2, caption=None)
    return directory


def run(capsys, *argv):
    """Run a command with --json. Gives (exit code, the object on stdout, stderr)."""
    code = cli.main([str(word) for word in argv] + ["--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_the_toy_world_is_judged_by_default_and_the_same_clips_again(
    capsys, tmp_path, model, monkeypatch
):
    monkeypatch.setattr(vae_run, "LINEAR_CLIPS", 32)
    found = []
    for name in ("a", "b"):
        words = ["evaluate", model, "--suite", "vae", "--n", "3", "-o", tmp_path / f"{name}.json"]
        code, result, _ = run(capsys, *words)
        assert code == 0
        found.append(json.loads((tmp_path / f"{name}.json").read_text()))
        assert media.read_image(result["contact_sheet"]).shape[0] > 3 * 96
        assert "PSNR" in (tmp_path / f"{name}.html").read_text()
    clips = found[0]["clips"]
    assert (clips["source"], clips["split"], clips["n"]) == ("toyworld", "heldout", 3)
    assert found[0]["vae"] == found[1]["vae"] and clips == found[1]["clips"]
    # Random weights are worse than the linear codec, which was fitted on other clips.
    assert found[0]["vae"]["psnr"] < found[0]["vae"]["linear_psnr"]
    assert found[0]["vae"]["linear_fitted_on"] == "32 clips of train"


def test_a_folder_is_judged_without_captions(capsys, model, videos):
    code, result, err = run(capsys, "evaluate", model, "--suite", "vae", "--data", videos)
    assert code == 0 and result["vae"]["linear_fitted_on"] == "the clips judged"
    assert [clip["id"] for clip in result["clips"]["list"]] == ["a@0", "a@16", "a@32", "b@0"]
    assert "name -o OUT.json" in err


def test_shards_are_judged_by_their_held_out_clips_at_the_size_that_is_asked(
    capsys, tmp_path, model, videos
):
    form = dataclasses.replace(FORM, size=(40, 40))
    splits = folder.split(folder.folder_records(videos, form, needs_captions=False))
    shards.write(tmp_path / "shards", splits, fingerprint="x")
    words = ["evaluate", model, "--suite", "vae", "--data", tmp_path / "shards", "--size", "40x40"]
    code, result, _ = run(capsys, *words)
    assert code == 0 and result["clips"]["split"] == "heldout"
    (clip,) = result["clips"]["list"]
    assert clip["id"] == "a@32" and result["clips"]["size"] == [40, 40]
    record = records.open_split(tmp_path / "shards", "heldout")[0]
    pixels = np.ascontiguousarray(records.decode(record))
    assert clip["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert result["vae"]["linear_fitted_on"] == "3 clips of train"


def test_a_run_is_judged_on_its_own_held_out_clips(capsys, tmp_path, model, videos):
    splits = folder.split(folder.folder_records(videos, FORM, needs_captions=False))
    shards.write(tmp_path / "run" / "data", splits, fingerprint="x")
    sampling = dataclasses.replace(tiny_parts()["sampling"], size=(32, 32))
    write_tiny(tmp_path / "run" / "bundle", sampling=sampling)
    code, result, _ = run(capsys, "evaluate", tmp_path / "run", "--suite", "vae")
    assert code == 0 and [clip["id"] for clip in result["clips"]["list"]] == ["a@32"]
    assert {path.name for path in (tmp_path / "run").glob("evaluation.*")} == {
        "evaluation.json",
        "evaluation.html",
        "evaluation.png",
    }


BAD = {
    "a size": (["--size", "36x32"], 2, "36x32 is not whole latents.*nearest sizes are 32x32 or 40"),
    "one clip": (["--n", "1"], 2, "--n 1 is not enough"),
    "too many": (["--n", "99999999"], 4, "lower --n"),
    "no such data": (["--data", "nowhere"], 2, "'nowhere'; it must be toyworld"),
    "another world": (["--size", "64x32"], 2, "no level of the toy world"),
    "a page": (["-o", "x.html"], 2, "name it x.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_one_line(capsys, model, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    extra, expected, message = BAD[case]
    code, result, err = run(capsys, "evaluate", model, "--suite", "vae", *extra)
    assert code == result["exit_code"] == expected and re.search(message, result["error"])
    assert err.splitlines()[-1] == f"sora-jax: {result['error']}" and not list(tmp_path.iterdir())


def test_its_options_are_not_for_other_suites(capsys, model):
    code, result, _ = run(capsys, "evaluate", model, "--data", "x")
    assert code == 2 and "are for --suite vae" in result["error"]


def test_clips_that_are_too_short_are_named(capsys, tmp_path, model):
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos", "a", seconds=1, caption=None)
    code, result, _ = run(
        capsys, "evaluate", model, "--suite", "vae", "--data", tmp_path / "videos"
    )
    assert code == 2 and "a.mp4 lasts 1.00 s, clips need 2.00 s" in result["error"]
