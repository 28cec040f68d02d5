"""If these fail, a finished file is not what its profile says, or its sound is lost or late."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.errors import LimitError
from sora_jax.post import audio, profiles, writing
from tests.post.clips import loudest, psnr, scene, write_video
from tests.post.test_lut import write_cube
from tests.tiny_model import write_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with videos of no, one and two sound tracks."""
    folder = tmp_path_factory.mktemp("finish")
    frames = scene(12, 64)
    write_video(folder / "silent.mp4", frames)
    write_video(folder / "one.mp4", frames, tracks=(440,), seconds=2)  # longer than the pictures
    write_video(folder / "two.mp4", frames, tracks=(440, 1000))
    write_video(folder / "pcm.mov", frames, tracks=(440,), codec="pcm_s16le")
    return folder


def run(place, capsys, *words, out="out.mp4", verb="post"):
    """(exit code, the JSON that is printed)."""
    words = [str(place / word) if (place / word).exists() else word for word in words]
    code = cli.main([verb, *words, "-o", str(place / out), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("profile", "out", "size"),
    [
        ("plain", "a.mp4", [64, 64]),
        ("story", "b.mp4", [1080, 1920]),
        ("feed", "c.mp4", [1080, 1080]),
        ("prores", "d.mov", [64, 64]),
        ("gif", "e.gif", [64, 64]),
        ("webp", "f.webp", [64, 64]),
        ("png", "frames", [64, 64]),
    ],
)
def test_each_profile_is_what_a_probe_finds(place, capsys, profile, out, size):
    code, result = run(place, capsys, "two.mp4", "--profile", profile, out=out)
    assert code == 0 and result["probe"]["size"] == size and result["frames"] == 12
    found = writing.probe(place / out)
    if profile in ("plain", "story", "feed", "prores"):
        assert found["frames"] == 12 and found["fps"] == 24 and found["index_first"]
        assert len(found["sound"]) == 2
        assert found["pixel_format"] == ("yuv422p10le" if profile == "prores" else "yuv420p")
    else:
        assert any("2 sound tracks" in note for note in result["notes"])
        assert found.get("seconds", 0.5) == pytest.approx(0.5, abs=0.011)
    assert (place / result["contact_sheet"]).exists()


def test_a_folder_of_png_holds_the_very_frames(place, capsys):
    run(place, capsys, "silent.mp4", "--profile", "png", out="exact")
    given, _ = media.read_video(place / "silent.mp4")
    names = sorted((place / "exact").glob("*.png"))
    assert [path.name for path in names][:2] == ["00001.png", "00002.png"]
    np.testing.assert_array_equal(np.stack([np.asarray(Image.open(p)) for p in names]), given)


def test_bars_or_the_middle(place, capsys):
    given = scene(1, 64)
    padded = next(profiles.fit(given, (128, 64), "pad"))
    assert not padded[:32].any() and not padded[96:].any()
    np.testing.assert_array_equal(padded[32:96], given[0])
    cropped = next(profiles.fit(given, (64, 32), "crop"))
    np.testing.assert_array_equal(cropped, given[0][:, 16:48])


def test_sound_is_kept_in_time_and_ends_with_the_pictures(place, capsys):
    code, result = run(place, capsys, "one.mp4", "--contrast", "1.1", out="kept.mp4")
    assert code == 0 and result["probe"]["sound"] == ["aac"]
    tone, length = loudest(place / "kept.mp4", 0)
    assert tone == pytest.approx(440, abs=5) and length == pytest.approx(0.5, abs=0.06)


def test_several_tracks_stay_apart_and_in_order(place, capsys):
    run(place, capsys, "two.mp4", out="both.mp4")
    assert loudest(place / "both.mp4", 0)[0] == pytest.approx(440, abs=5)
    assert loudest(place / "both.mp4", 1)[0] == pytest.approx(1000, abs=5)


def test_sound_that_mp4_has_no_place_for_is_written_anew(place, capsys):
    code, result = run(place, capsys, "pcm.mov", out="anew.mp4")
    assert code == 0 and result["probe"]["sound"] == ["aac"]
    assert loudest(place / "anew.mp4", 0)[0] == pytest.approx(440, abs=5)


def test_sound_can_be_dropped(place, capsys):
    code, result = run(place, capsys, "two.mp4", "--audio", "drop", out="mute.mp4")
    assert code == 0 and audio.tracks(place / "mute.mp4") == []
    assert any("2 sound tracks" in note for note in result["notes"])


def test_a_record_gives_the_same_frames_again(place, capsys):
    write_cube(place / "turn.cube", 3, lambda r, g, b: (b, r, g))
    code, first = run(place, capsys, "one.mp4", "--lut", "turn.cube", "--sharpen", out="once.mp4")
    assert code == 0 and first["steps"] == ["lut", "sharpen"]
    code, again = run(place, capsys, "once.json", out="again.mp4", verb="replay")
    assert code == 0 and again["identical"]
    (place / "turn.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    code, other = run(place, capsys, "once.json", out="again.mp4", verb="replay")
    assert code == 2 and "turn.cube is not the file that it was" in other["error"]


def test_a_clip_longer_than_a_minute_is_finished_and_is_no_story(place, capsys):
    frames = np.repeat(scene(1, 16), 62 * 4, axis=0)
    write_video(place / "long.mp4", frames, fps=4)
    code, result = run(place, capsys, "long.mp4", "--contrast", "1.1", out="longer.mp4")
    assert code == 0 and result["frames"] == 248 and result["seconds"] == 62
    code, result = run(place, capsys, "long.mp4", "--profile", "story", out="none.mp4")
    assert code == 4 and "has 62 s and profile story takes 60" in result["error"]
    assert not (place / "none.mp4").exists()


def test_tools_of_the_model_take_a_minute_and_say_that_sound_is_left_out(place, capsys):
    write_tiny(place / "tiny")
    write_video(place / "long.mp4", np.repeat(scene(1, 16), 62 * 4, axis=0), fps=4)
    words = ("--keep", "0:1")
    code, result = run(place, capsys, "tiny", "long.mp4", *words, out="none.mp4", verb="recut")
    assert code == 4 and "has 62 s and a tool takes 60; trim it" in result["error"]
    write_video(place / "heard.mp4", np.repeat(scene(1, 16), 16, axis=0), fps=8, tracks=(440,))
    code, result = run(place, capsys, "tiny", "heard.mp4", *words, out="r.mp4", verb="recut")
    assert code == 0 and any("sound of heard.mp4 is left out" in note for note in result["notes"])


def test_frames_past_the_limit_are_found_where_the_header_is_silent():
    with pytest.raises(LimitError, match="trim it"):
        profiles.check_length("gif", 1441, 24)
    profiles.check_length("gif", 1440, 24)
    profiles.check_length("plain", 10**6, 24)


def test_quality_is_enough_for_what_was_asked(place, capsys):
    """What the codec loses is less than 40 dB of what a step may not change."""
    run(place, capsys, "silent.mp4", out="copy.mp4")
    a, b = (media.read_video(place / name)[0] for name in ("silent.mp4", "copy.mp4"))
    assert psnr(a, b) > 40


def test_a_batch_finishes_without_a_model(place, capsys):
    job = {"tool": "post", "source": str(place / "one.mp4"), "saturation": 0.5, "name": "grey"}
    (place / "jobs.jsonl").write_text(json.dumps(job) + "\n")
    code, result = run(place, capsys, "jobs.jsonl", out="many", verb="batch")
    assert code == 0 and result["made"] == 1 and (place / "many" / "grey.mp4").exists()


def write_empty(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        out.start_encoding()


@pytest.mark.parametrize(
    ("words", "out", "code", "message"),
    [
        (("silent.mp4", "--preset", "vivd"), "x.mp4", 2, "did you mean 'vivid'"),
        (("silent.mp4", "--preset", "zzz"), "x.mp4", 2, "no preset 'zzz'; there are clean, steady"),
        (("silent.mp4", "--profile", "tape"), "x.mp4", 2, "there are plain, story, feed"),
        (("silent.mp4", "--profile", "gif"), "x.mp4", 2, "name it"),
        (("silent.mp4", "--fit", "squash"), "x.mp4", 2, "use pad or crop"),
        (("silent.mp4", "--audio", "mix"), "x.mp4", 2, "use keep or drop"),
        (("silent.mp4", "--exposure", "bright"), "x.mp4", 2, "exposure bright is not a number"),
        (("silent.mp4", "--lut", "none.cube"), "x.mp4", 2, "no colour table"),
        (("nothing.mp4",), "x.mp4", 2, "no file"),
        (("empty.mp4",), "x.mp4", 2, "empty.mp4"),
        (("silent.mp4",), "no/x.mp4", 2, "does not exist; create it"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(place, capsys, words, out, code, message):
    if "empty.mp4" in words:
        write_empty(place / "empty.mp4")
    found, result = run(place, capsys, *words, out=out)
    assert found == code and message in result["error"] and "\n" not in result["error"]
    assert not (place / out).exists() and not list(place.glob(".x*"))
