"""If these fail, `analyze` looks at something else than it was given, or hides that it can't."""

import json

import numpy as np
import pytest

from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.eval.finishing import scene


def run(capsys, what):
    code = cli.main(["analyze", str(what), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_prompts_pictures_and_videos_are_told_apart(tmp_path, capsys):
    media.write_png(tmp_path / "a.png", np.full((32, 48, 3), (225, 30, 35), np.uint8))
    media.write_video(tmp_path / "b.mp4", scene(0), 8)
    code, found = run(capsys, "a red circle moves left")
    assert code == 0 and found["elements"]["objects"] == ["red circle"]
    code, found = run(capsys, tmp_path / "a.png")
    assert code == 0 and found["size"] == [48, 32] and found["palette"][0]["name"] == "red"
    code, found = run(capsys, tmp_path / "b.mp4")
    assert code == 0 and (found["frames"], found["seconds"]) == (16, 2.0)
    assert [shot["camera"] for shot in found["shots"]] == ["still"]


def test_people_read_lines(tmp_path, capsys):
    media.write_video(tmp_path / "b.mp4", scene(0), 8)
    assert cli.main(["analyze", str(tmp_path / "b.mp4")]) == 0
    assert "camera still" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"), [("no.mp4", None), ("no.png", None), ("bad.mp4", b"x"), ("bad.png", b"x")]
)
def test_what_can_not_be_read_is_said_in_one_line(tmp_path, capsys, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, found = run(capsys, tmp_path / name)
    assert code == 2 and name in found["error"]


def test_nothing_is_no_prompt(capsys):
    assert run(capsys, "  ")[0] == 2
