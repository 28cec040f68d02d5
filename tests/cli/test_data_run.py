"""`sora-jax data run` from the outside: what it prints, writes and refuses."""

import json
import os

import pytest

from sora_jax.cli import main
from tests.data_pipelines import films

pytest.importorskip("scenedetect", reason="needs the extra data: make data-film installs it")

QUICK = ["--processes", "1", "--set", "score.text_frames=0", "--set", "clip.short_side=64"]


@pytest.fixture
def folder(tmp_path):
    """One film with a caption and one web page that calls itself a film."""
    source = tmp_path / "in"
    source.mkdir()
    films.write(source / "film.mp4", films.scene(1, 48))
    (source / "film.txt").write_text("a landscape passes by")
    (source / "page.mp4").write_text("<html>")
    return source


def run(capsys, *words):
    code = main.main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_folder_becomes_shards_with_a_report(folder, tmp_path, capsys):
    out = tmp_path / "out"
    settings = tmp_path / "settings.yaml"
    settings.write_text("clip: {fps: 12, min_seconds: 0.5}\n")
    words = ["run", folder, "-o", out, *QUICK, "--settings", settings, "--json"]
    code, printed, told = run(capsys, *words)
    result = json.loads(printed)
    assert code == 0 and printed.count("\n") == 1
    assert (result["clips_kept"], result["clips_rejected"]) == (1, {"unreadable": 1})
    assert "stage" in told and "unreadable 1" in told
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["clip"]["fps"] == 12 and report["splits"] == {"train": 1}
    assert [line["name"] for line in report["stages"]][:2] == ["ingest", "distinct"]
    assert (out / "report.html").exists()
    assert run(capsys, "verify", out / "shards", "--json")[0] == 0
    code, printed, told = run(capsys, "run", folder / "page.mp4", "-o", tmp_path / "none", *QUICK)
    assert code == 2 and printed == "" and "no clip is kept (unreadable 1)" in told
    assert "web page" in (tmp_path / "none" / "report.html").read_text()


def test_the_key_is_read_from_the_variable_that_is_named(folder, tmp_path, capsys, monkeypatch):
    """It goes to the endpoint alone: nothing answers there, and nothing written holds it."""
    monkeypatch.setitem(os.environ, "MY_KEY", "secret-word")
    words = ["run", folder, "-o", tmp_path / "out", *QUICK, "--api-key-env", "MY_KEY"]
    words += ["--set", "caption.order=[endpoint]", "--set", "caption.endpoint.model=eye"]
    words += ["--set", "caption.endpoint.url=http://127.0.0.1:9/v1"]
    code, _, told = run(capsys, *words, "--set", "caption.endpoint.retries=0")
    assert code == 5 and "127.0.0.1:9" in told and "secret-word" not in told
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"secret-word" not in path.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "clip.short_sid=3"], "did you mean 'short_side'?"),
        (["--set", "clip.fps=fast"], "must be float"),
        (["--set", "clip.fps"], "write --set clip.fps=VALUE"),
        (["--set", "clip.max_seconds=1"], "min_seconds"),
        (["--settings", "nowhere.yaml"], "no file nowhere.yaml"),
        (["--processes", "0"], "at least 1"),
        (["--", "--flink_master=x"], "is for Beam"),
    ],
)
def test_mistakes_are_told_in_a_line_and_nothing_is_written(
    folder, tmp_path, capsys, words, message
):
    code, _, told = run(capsys, "run", folder, "-o", tmp_path / "out", *words)
    assert code == 2 and message in told.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_without_a_verb_the_path_is_explained(capsys):
    code, printed, _ = run(capsys)
    assert code == 0 and "data run" in printed and "fetch-samples" in printed
