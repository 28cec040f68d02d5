"""If these fail, a person sees a traceback, or a program can't read what the command did."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sora_jax import media
from sora_jax.cli import doctor
from sora_jax.cli import main as cli
from sora_jax.errors import LimitError, PolicyError, RunError, UsageError
from tests.tiny_model import write_tiny

PROMPT = "a red circle moves left"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def clip(tmp_path):
    """A file with 10 frames of 48x32 at 16 fps: not the model's length, size or rate."""
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 48, 3), np.uint8)
    media.write_video(tmp_path / "clip.mp4", frames, 16.0)
    return tmp_path / "clip.mp4"


def run(capsys, *argv):
    """Run a command with --json. Gives (exit code, the object on stdout, stderr)."""
    code = cli.main([str(word) for word in argv] + ["--json"])
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1, captured.out
    return code, json.loads(captured.out), captured.err


def test_generate_writes_a_video_and_its_contact_sheet(capsys, tmp_path, model):
    out = tmp_path / "out.mp4"
    code, result, _ = run(capsys, "generate", model, "-p", PROMPT, "-o", out, "--seed", 3)
    assert code == 0
    frames, fps = media.read_video(out)
    assert (len(frames), fps) == (result["frames"], result["fps"]) == (16, 8.0)
    # Small clips are written larger, for players.
    assert frames.shape[1:3] == (256, 256) and result["size"] == [16, 16]
    assert media.read_image(result["contact_sheet"]).shape[1] > 100
    assert (result["prompt"], result["seed"]) == (PROMPT, 3)
    assert len(result["model_digest"]) == 64


def test_the_same_command_writes_the_same_video(capsys, tmp_path, model):
    clips = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.mp4"
        run(capsys, "generate", model, "-p", PROMPT, "-o", out, "--seed", seed)
        clips.append(out.read_bytes())
    assert clips[0] == clips[1] != clips[2]


def test_options_reach_the_engine(capsys, tmp_path, model):
    options = "--size 24x16 --fps 12 --seconds 1 --steps 2 --solver heun --cfg-scale 1".split()
    out = tmp_path / "out.mp4"
    code, result, _ = run(capsys, "generate", model, "-p", PROMPT, "-o", out, *options)
    assert code == 0
    assert (result["frames"], result["fps"], result["size"]) == (12, 12.0, [24, 16])
    assert (result["steps"], result["solver"], result["cfg_scale"]) == (2, "heun", 1.0)


def test_animate_brings_the_image_to_the_model_and_says_so(capsys, tmp_path, model):
    image = tmp_path / "first.png"
    media.write_png(image, np.full((40, 60, 3), 90, np.uint8))
    out = tmp_path / "out.mp4"
    code, result, err = run(capsys, "animate", model, image, "-p", PROMPT, "-o", out)
    assert (code, result["frames"]) == (0, 16)
    assert "60x40 was cut in the middle and scaled to 16x16" in result["notes"][0]
    assert result["notes"][0] in err


def test_pictures_are_seen_at_their_times_and_again_in_a_replay(capsys, tmp_path, model):
    images = []
    for number in range(3):
        images.append(tmp_path / f"{number}.png")
        media.write_png(images[-1], np.full((16, 16, 3), 100 * number, np.uint8))
    out, again = tmp_path / "out.mp4", tmp_path / "again.mp4"
    times = ["--at", "first", "--at", "0.5", "--at", "last"]
    argv = ["animate", model, *images, *times, "-p", PROMPT]
    assert run(capsys, *argv, "-o", out)[0] == 0
    code, result, _ = run(capsys, "replay", tmp_path / "out.json", "-o", again)
    assert (code, result["identical"]) == (0, True)
    assert len(json.loads((tmp_path / "out.json").read_text())["inputs"]) == 3


@pytest.mark.parametrize(
    ("count", "times", "message"),
    [
        (3, [], "3 pictures need their times"),
        (2, ["first"], "--at is given 1 times for 2 pictures"),
        (1, ["noon"], "--at noon is not first, last or seconds"),
        (1, ["nan"], "--at nan is not first, last or seconds"),
        (1, ["0.3"], "begins at a multiple of that; use 0.5"),
        (1, ["2"], "whose last picture can be at 1.5 s; give --seconds"),
        (1, ["-1"], "--at -1 is not in the video"),
        (2, ["0", "first"], "two pictures are at 0 s; move one by 0.5"),
    ],
)
def test_pictures_without_a_place_are_refused(capsys, tmp_path, model, count, times, message):
    image = tmp_path / "image.png"
    media.write_png(image, np.full((16, 16, 3), 90, np.uint8))
    places = [f"--at={time}" for time in times]
    argv = ["animate", model, *[image] * count, *places, "-p", PROMPT, "-o", tmp_path / "out.mp4"]
    fails(capsys, argv, 2, message)


@pytest.mark.parametrize(("direction", "frames"), [("forward", 8), ("backward", 8), ("both", 12)])
def test_extend_says_everything_that_it_did_to_the_clip(
    capsys, tmp_path, model, clip, direction, frames
):
    out = tmp_path / "out.mp4"
    argv = ["extend", model, clip, "--direction", direction, "--seconds", "0.5", "-o", out]
    code, result, err = run(capsys, *argv)
    assert code == 0
    # 10 frames at 16 fps are 5 at 8 fps, of which 4 make a whole chunk.
    assert (result["frames"], result["kept_frames"]) == (frames, 4)
    assert [word in " ".join(result["notes"]) for word in ("16 fps", "48x32", "dropped")] == [
        True
    ] * 3
    assert err.count("note: ") == 3


BAD = {
    "an empty prompt": (["-p", " "], 2, "prompt is empty"),
    "a prompt that is too long": (["-p", "a circle " * 20], 2, "40 tokens.*takes 12"),
    "a size off the patch": (["--size", "20x16"], 2, "20x16 is not a multiple.*16x16 or 24x16"),
    "a size that is none": (["--size", "big"], 2, "'big' is not WIDTHxHEIGHT"),
    "a length off the chunk": (["--seconds", "0.7"], 2, "use --seconds 0.5 or 1"),
    "a solver that is none": (["--solver", "rk4"], 2, "use one of euler"),
    "a number that is none": (["--steps", "many"], 2, "--steps: invalid int value: 'many'"),
    "a seed out of range": (["--seed", "-1"], 2, "seed -1"),
    "too large a video": (["--size", "2048x2048"], 4, "is the limit"),
    "an option that is none": (["--stepps", "3"], 2, "unrecognized arguments: --stepps"),
    "a config for no reason": (["--config.a=3"], 2, "--config.a needs --config FILE"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_its_exit_code(capsys, tmp_path, model, case):
    extra, expected, message = BAD[case]
    out = tmp_path / "out.mp4"
    argv = ["generate", model, "-o", out, *([] if "-p" in extra else ["-p", PROMPT]), *extra]
    fails(capsys, argv, expected, message)
    assert not list(tmp_path.iterdir())  # nothing was written


def fails(capsys, argv, code, message):
    found, result, err = run(capsys, *argv)
    assert found == result["exit_code"] == code
    assert re.search(message, result["error"]), result["error"]
    assert err.count("\n") == 1 and "Traceback" not in err


def test_bad_places_and_models_are_named(capsys, tmp_path, model):
    def argv(model, out):
        return ["generate", model, "-p", PROMPT, "-o", out]

    out = tmp_path / "out.mp4"
    fails(capsys, argv(model, tmp_path / "no" / "out.mp4"), 2, "no does not exist; create it")
    fails(capsys, argv(model, tmp_path / "out.gif"), 2, "a video is an mp4; name it out.mp4")
    fails(capsys, argv(tmp_path / "none", out), 2, "no model .*none; name a run directory")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    fails(capsys, argv(tmp_path / "run", out), 2, "no checkpoint to sample from yet; train it")


def test_bad_pictures_and_videos_are_named(capsys, tmp_path, model, clip):
    out = tmp_path / "out.mp4"
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:900])
    tail = ["-o", out, "--seconds", "0.5"]
    fails(capsys, ["extend", model, cut, *tail], 2, "cut.mp4 is truncated")
    fails(capsys, ["extend", model, "http://x/y.mp4", *tail], 2, "is a URL")
    fails(capsys, ["animate", model, clip, "-p", PROMPT, "-o", out], 2, "clip.mp4 is not an image")
    fails(capsys, ["animate", model, tmp_path / "no.png", "-p", PROMPT, "-o", out], 2, "no file")
    assert not out.exists()


def test_a_wrong_verb_names_the_nearest(capsys):
    fails(capsys, ["genrate"], 2, "no verb 'genrate'; did you mean 'generate'?")
    fails(capsys, ["xyz"], 2, "use one of quickstart, ")
    fails(capsys, [], 2, "VERB; see `sora-jax --help`")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (PolicyError("x"), 3),
        (LimitError("x"), 4),
        (RunError("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_way_to_end_has_its_exit_code(capsys, monkeypatch, error, code):
    def end(args):
        raise error

    monkeypatch.setattr(cli.VERBS["doctor"], "run", end)
    found, result, err = run(capsys, "doctor")
    assert found == result["exit_code"] == code and err.count("\n") == 1


def test_a_fault_of_ours_shows_where_it_was(capsys, monkeypatch):
    monkeypatch.setattr(cli.VERBS["doctor"], "run", lambda args: 1 // 0)
    code, result, err = run(capsys, "doctor")
    assert code == 5 and "ZeroDivisionError" in result["error"] and "Traceback" in err


def test_what_a_verb_prints_goes_to_stderr(capsys, monkeypatch):
    def talk(args):
        print("step 1 of 2")
        return {"fine": True}

    monkeypatch.setattr(cli.VERBS["doctor"], "run", talk)
    code, result, err = run(capsys, "doctor")
    assert (code, result, err) == (0, {"fine": True}, "step 1 of 2\n")


def test_people_get_lines_instead_of_json(capsys, monkeypatch):
    monkeypatch.setattr(
        cli.VERBS["doctor"], "run", lambda args: {"output": "a.mp4", "empty": "", "notes": ["n"]}
    )
    assert cli.main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["output", "a.mp4"] and captured.err == "note: n\n"


def test_doctor_finds_this_machine(capsys, tmp_path):
    code, result, err = run(capsys, "doctor", "--skip-self-test", "--workdir", tmp_path / "runs")
    assert code == 0 and result["devices"][0].startswith("cpu") and result["packages"]["jax"]
    assert {"python", "packages", "devices", "disk", "workdir", "wandb"} <= {
        check["name"] for check in result["checks"]
    }
    for check in result["checks"]:
        assert f"{check['status']:8} {check['name']}: " in err
        assert check["status"] == "ok" or check["remedy"]


def test_what_doctor_finds_wrong_is_an_error_with_its_remedy(capsys, tmp_path, monkeypatch):
    """A package out of its range, and a disk without room."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: ["numpy<1", "nothing>=1"])
    code, result, err = run(capsys, "doctor", "--skip-self-test", "--workdir", tmp_path)
    assert code == result["exit_code"] == 5 and result["status"] == "error"
    found = {check["name"]: check for check in result["checks"]}
    assert "numpy is " in found["packages"]["found"] and "nothing is absent" in err
    assert found["packages"]["remedy"] == "run `make setup`"
    assert "0.0 GiB free" in found["disk"]["found"] and "free some" in found["disk"]["remedy"]


def test_a_check_of_doctor_that_fails_is_a_finding(capsys, tmp_path, monkeypatch):
    def broken():
        raise OSError("the codec is gone")

    monkeypatch.setattr(doctor, "_embedded", broken)
    code, result, _ = run(capsys, "doctor", "--skip-self-test", "--workdir", tmp_path)
    assert code == 5
    assert "the codec is gone" in result["problems"][-1]


@pytest.mark.slow
def test_doctor_trains_and_samples_a_tiny_model(capsys, tmp_path):
    code, result, _ = run(capsys, "doctor", "--workdir", tmp_path)
    assert code == 0, result["problems"]
    found = {check["name"]: check["status"] for check in result["checks"]}
    assert [found[name] for name in ("overfit", "checkpoint", "guidance")] == ["ok"] * 3


def test_help_is_instant_and_teaches_by_example():
    """Help must not wait for JAX: whoever asks for it does not know yet what to type."""
    program = (
        "import sys; from sora_jax.cli import main; main.build_parser().print_help(); "
        "print([name for name in ('jax', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stderr
    text = " ".join(done.stdout.split())
    for verb, module in cli.VERBS.items():
        assert f"sora-jax {verb}" in text and module.SUMMARY in text


@pytest.mark.parametrize("verb", cli.VERBS)
def test_examples_in_the_help_parse(verb):
    words = shlex.split(cli.VERBS[verb].EXAMPLE)
    assert words[:2] == ["sora-jax", verb]
    assert cli.parse(words[1:]).verb == verb
