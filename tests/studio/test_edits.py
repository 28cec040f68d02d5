"""If these fail, an editing verb writes another video than was asked for, or hides a mistake."""

import json

import numpy as np
import pytest

from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.errors import UsageError
from sora_jax.studio import batch as batch_tool
from tests.tiny_model import write_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, two clips, a mask and a board."""
    folder = tmp_path_factory.mktemp("studio")
    write_tiny(folder / "tiny")
    rng = np.random.default_rng(0)
    for name in "ab":
        media.write_video(
            folder / f"{name}.mp4", rng.integers(0, 256, (16, 16, 16, 3), np.uint8), 8
        )
    media.write_png(folder / "mask.png", np.zeros((16, 16, 3), np.uint8))
    (folder / "board.yaml").write_text(
        "seconds: 3\ncards:\n  - {time: 0, prompt: a red circle}\n"
        "  - {time: 1, image: mask.png}\n  - {time: 2, prompt: a blue square, transition: cut}\n"
    )
    return folder


def run(place, capsys, *words):
    """(exit code, the JSON that is printed)."""
    words = [str(place / word) if (place / word).exists() else word for word in words]
    code = cli.main([*words, "-o", str(place / "out.mp4"), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (("remix", "tiny", "a.mp4", "-p", "a red circle", "--strength", "strong"), 16),
        (("remix", "tiny", "a.mp4", "-p", "a red circle", "--mask", "mask.png"), 16),
        (("blend", "tiny", "a.mp4", "b.mp4", "--seconds", "1", "--curve", "ease"), 40),
        (("blend", "tiny", "a.mp4", "b.mp4", "--mode", "mix"), 16),
        (("loop", "tiny", "-p", "a red circle", "--seconds", "2"), 16),
        (("loop", "tiny", "-p", "a red circle", "--seconds", "3"), 24),
        (("loop", "tiny", "a.mp4", "--seconds", "3"), 24),
        (("recut", "tiny", "a.mp4", "--keep", "1:2", "--keep", "0:0.5", "--fill", "0.5"), 16),
        (("storyboard", "tiny", "board.yaml"), 24),
    ],
)
def test_every_tool_writes_as_many_frames_as_asked(place, capsys, words, frames):
    code, result = run(place, capsys, *words)
    assert code == 0 and result["frames"] == frames
    video, _ = media.read_video(place / "out.mp4")
    assert len(video) == frames


def test_what_the_mask_keeps_is_the_reconstruction(place, capsys):
    """With all of it kept, another prompt and seed change nothing."""
    words = ("remix", "tiny", "a.mp4", "--mask", "mask.png", "--strength", "1")
    run(place, capsys, *words, "-p", "a red circle")
    first, _ = media.read_video(place / "out.mp4")
    run(place, capsys, *words, "-p", "a blue square", "--seed", "7")
    again, _ = media.read_video(place / "out.mp4")
    np.testing.assert_array_equal(first, again)


def test_a_record_gives_the_same_frames_again(place, capsys):
    """And not where a file that went in, or the model, is another."""
    code, result = run(place, capsys, "remix", "tiny", "a.mp4", "-p", "a red circle", "--seed", "3")
    record = place / "kept.json"
    (place / "out.json").rename(record)
    code, again = run(place, capsys, "replay", "kept.json")
    assert code == 0 and again["identical"] and again["seed"] == 3
    text = record.read_text()
    record.write_text(text.replace('"seed": 3', '"seed": 4'))
    code, other = run(place, capsys, "replay", "kept.json")
    assert code == 5 and "not those of kept.json" in other["error"]
    record.write_text(text)
    content = (place / "a.mp4").read_bytes()
    (place / "a.mp4").write_bytes(content + b"x")
    code, changed = run(place, capsys, "replay", "kept.json")
    (place / "a.mp4").write_bytes(content)
    assert code == 2 and "a.mp4 is not the file that it was" in changed["error"]


def test_variations_are_what_their_seeds_give_alone(place, capsys):
    words = ("generate", "tiny", "-p", "a red circle", "--draft")
    code, result = run(place, capsys, *words, "-n", "2", "--seed", "8")
    assert code == 0 and len(result["outputs"]) == 2
    second, _ = media.read_video(place / "out-2.mp4")
    run(place, capsys, *words, "--seed", "9")
    alone, _ = media.read_video(place / "out.mp4")
    np.testing.assert_array_equal(second, alone)


def test_a_batch_goes_on_where_it_was(place, capsys):
    """What is there is not made again; a job that fails does not stop the others."""
    jobs = [
        {"tool": "generate", "prompt": "a red circle", "draft": True},
        {"tool": "generate", "prompt": "a " * 20, "draft": True, "name": "long"},
        {"tool": "remix", "source": str(place / "a.mp4"), "prompt": "a blue square"},
    ]
    (place / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))

    def batch():
        words = ["batch", str(place / "jobs.jsonl"), "--model", str(place / "tiny")]
        code = cli.main([*words, "-o", str(place / "videos"), "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, result = batch()
    assert code == 5 and "1 of 3 jobs failed, the first is long" in result["error"]
    first = (place / "videos" / "0001.mp4").stat().st_mtime_ns
    (place / "videos" / "0003.json").unlink()  # as if killed before it was done
    (place / "jobs.jsonl").write_text(
        "".join(json.dumps(jobs[i]) + "\n" for i in (0,)) + "\n" + json.dumps(jobs[2]) + "\n"
    )
    code, result = batch()
    assert code == 0 and (result["jobs"], result["made"], result["had"]) == (2, 1, 1)
    assert (place / "videos" / "0001.mp4").stat().st_mtime_ns == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no job"),
        ("{", "line 1 .* is not JSON"),
        ('{"tool": "fly"}', "line 1 .* no tool that is known"),
        ('{"tool": "generate", "name": "../x"}', "name '../x' is taken or is a path"),
        ('{"tool": "generate", "prompt": "a"}', "names no model"),
    ],
)
def test_jobs_with_a_mistake_are_refused_before_any_is_done(place, text, message):
    (place / "bad.jsonl").write_text(text)
    with pytest.raises(UsageError, match=message):
        batch_tool.run(place / "bad.jsonl", place / "none", progress=lambda done, total: None)
    assert not list((place / "none").glob("*"))


def test_a_preview_is_a_sheet_and_no_video(place, capsys):
    (place / "out.mp4").unlink(missing_ok=True)
    code, result = run(place, capsys, "storyboard", "tiny", "board.yaml", "--preview")
    assert code == 0 and len(result["cards"]) == 3
    assert not (place / "out.mp4").exists() and (place / "out.png").exists()


def test_controls_are_in_the_record_and_come_again(place, capsys):
    words = ("--style", "own", "--styles", "own.yaml", "--lighting", "night", "--pacing", "0.5")
    (place / "own.yaml").write_text("own: {post: {saturation: 0}}\n")
    code, result = run(place, capsys, "generate", "tiny", "-p", "a red circle", *words)
    assert code == 0 and result["frames"] == 16 and result["prompt_sampled"] == "a red circle"
    assert result["controls"] == dict.fromkeys(("lighting", "pacing", "style"), "finish")
    plain = media.read_video(place / "out.mp4")[0]
    code = cli.main(["replay", str(place / "out.json"), "-o", str(place / "again.mp4"), "--json"])
    assert code == 0 and json.loads(capsys.readouterr().out)["identical"]
    assert np.array_equal(media.read_video(place / "again.mp4")[0], plain)
    (place / "own.yaml").write_text("own: {post: {saturation: 1}}\n")
    code = cli.main(["replay", str(place / "out.json"), "-o", str(place / "again.mp4"), "--json"])
    assert code == 2 and "own.yaml is not the file" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generate", "-p", "a", "--style", "noirr"), "did you mean 'noir'"),
        (("generate", "-p", "a", "--camera", "pan left:2"), "at most 1"),
        (
            ("remix", "a.mp4", "-p", "a", "--mask", "mask.png", "--lighting", "night"),
            "these controls change all of them",
        ),
        (("remix", "a.mp4", "-p", "a", "--strength", "huge"), "subtle, mild, strong"),
        (("blend", "a.mp4", "b.mp4"), "--seconds is the length of a transition"),
        (("blend", "a.mp4", "b.mp4", "--seconds", "1", "--curve", "up"), "curve 'up'"),
        (("loop", "--seconds", "2"), "made of a VIDEO or of a prompt"),
        (("loop", "a.mp4", "--seconds", "2"), "leaves no time for the way back"),
        (("recut", "a.mp4", "--keep", "1:3"), "not within the clip's 0:2 seconds"),
        (("recut", "a.mp4", "--keep", "0:0.7"), "not on multiples of 0.5 s"),
        (("storyboard", "nothing.yaml"), "no board"),
    ],
)
def test_mistakes_are_one_line_that_says_what_to_do(place, capsys, words, message):
    code, result = run(place, capsys, words[0], "tiny", *words[1:])
    assert code == 2 and message in result["error"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds: 2\ncards: []\n", "no cards"),
        ("seconds: 2\ncard: []\n", "did you mean 'cards'"),
        ("cards: [{time: 0, prompt: a}]\n", "no seconds"),
        ("seconds: 2\ncards: [{time: 0, promt: a}]\n", "did you mean 'prompt'"),
        ("seconds: 2\ncards: [{time: 0}]\n", "card 1 shows nothing"),
        ("seconds: 2\ncards: [{time: 0, prompt: a, transition: fade}]\n", "continue or cut"),
        ("seconds: [2\n", "is not YAML"),
    ],
)
def test_a_board_with_a_mistake_is_refused(place, capsys, text, message):
    (place / "bad.yaml").write_text(text)
    code, result = run(place, capsys, "storyboard", "tiny", "bad.yaml")
    assert code == 2 and message in result["error"]
