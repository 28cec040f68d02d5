"""If these fail, Python cannot do what the command line does."""

import json

import pytest

from sora_jax.cli import main as cli
from sora_jax.studio import Studio
from tests.post.clips import scene, write_video
from tests.tiny_model import write_tiny


def test_python_and_the_command_line_give_the_same_frames(tmp_path):
    write_tiny(tmp_path / "tiny")
    write_video(tmp_path / "a.mp4", scene(4, 32))
    studio = Studio(tmp_path / "tiny")
    made = studio.generate("a red circle", str(tmp_path / "b.mp4"), seed=3, draft=True)
    assert made["seed"] == 3
    studio.post(tmp_path / "a.mp4", tmp_path / "c.mp4", contrast=1.2, sharpen="auto")
    words = ["post", str(tmp_path / "a.mp4"), "--contrast", "1.2", "--sharpen"]
    assert cli.main([*words, "-o", str(tmp_path / "d.mp4")]) == 0
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "cd")
    assert one["frames_sha256"] == two["frames_sha256"]


def test_it_says_what_it_has():
    names = dir(Studio())
    assert Studio().analyze("a red circle")["elements"]["objects"] == ["red circle"]
    assert {"analyze", "generate", "remix", "recut", "storyboard", "post", "upscale"} <= set(names)
    with pytest.raises(AttributeError, match="no tool 'fly'; it has animate, blend"):
        Studio().fly  # noqa: B018
