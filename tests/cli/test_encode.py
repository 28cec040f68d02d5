"""`encode` and `decode`: a video of any length and size through latents, and what is refused."""

import json
import re

import numpy as np
import pytest

from sora_jax import media
from sora_jax.cli import main as cli
from sora_jax.eval.reconstruction import psnr
from sora_jax.export.bundle import open_vae
from sora_jax.generate.codec import Codec
from tests.export.test_vae_bundle import write as write_alone
from tests.tiny_model import tiny_parts, write_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_tiny(tmp_path_factory.mktemp("model") / "tiny", dtype="float32"))


def write(path, frames=12, size=(16, 24), fps=12.5):
    video = np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8)
    path.write_bytes(media.encode_mp4(video, fps))
    return path


def run(capsys, *argv):
    """Run a command with --json. Gives (exit code, the object on stdout, stderr)."""
    code = cli.main([str(word) for word in argv] + ["--json"])
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1, captured.out
    return code, json.loads(captured.out), captured.err


def latents_of(path):
    with np.load(path, allow_pickle=False) as found:
        return found["latents"]


def test_encode_gives_the_latents_of_the_whole_clip(capsys, tmp_path, model, monkeypatch):
    """In pieces of two chunks, of which the last is short, as in one."""
    monkeypatch.setattr("sora_jax.generate.codec.PIECE_CHUNKS", 2)
    clip, out = write(tmp_path / "clip.mp4"), tmp_path / "x.npz"
    code, result, err = run(capsys, "encode", model, clip, "-o", out)
    assert code == 0 and result["latents"] == [3, 2, 3, 4] and result["frames"] == 12
    assert "12/12" in err  # progress
    whole = Codec.of(open_vae(model)).encode(media.read_video(clip)[0][None])[0]
    np.testing.assert_allclose(latents_of(out), whole, atol=1e-5)


def test_decode_gives_the_video_of_the_whole_clip(capsys, tmp_path, model, monkeypatch):
    """It sees the chunk before across pieces; length, size and rate are the source's."""
    monkeypatch.setattr("sora_jax.generate.codec.PIECE_CHUNKS", 2)
    clip, file, out = write(tmp_path / "clip.mp4"), tmp_path / "x.npz", tmp_path / "out.mp4"
    run(capsys, "encode", model, clip, "-o", file)
    code, result, _ = run(capsys, "decode", model, file, "-o", out)
    assert (code, result["frames"], result["fps"], result["size"]) == (0, 12, 12.5, [24, 16])
    frames, fps = media.read_video(out)
    whole = Codec.of(open_vae(model)).decode(latents_of(file)[None])[0]
    media.write_video(tmp_path / "whole.mp4", whole, 12.5, crf=12)
    assert fps == 12.5 and psnr(frames, media.read_video(tmp_path / "whole.mp4")[0]) > 45
    assert media.read_image(result["contact_sheet"]).shape[1] > 8 * 24
    # The record makes the same frames again.
    code, again, _ = run(capsys, "replay", result["record"], "-o", tmp_path / "again.mp4")
    assert code == 0 and again["identical"]


def test_padding_is_taken_off_again(capsys, tmp_path, model):
    clip = write(tmp_path / "clip.mp4", frames=10, size=(18, 22))
    file, out = tmp_path / "x.npz", tmp_path / "out.mp4"
    code, result, err = run(capsys, "encode", model, clip, "-o", file, "--pad")
    assert code == 0 and result["latents"] == [3, 3, 3, 4] and result["size"] == [22, 18]
    assert "22x18 was padded to 24x24" in err and "held for 2 more" in err
    code, result, _ = run(capsys, "decode", model, file, "-o", out)
    assert media.read_video(out)[0].shape == (10, 18, 22, 3)
    # What is padded is the edge repeated: the same as encoding a clip that has it.
    video = np.pad(media.read_video(clip)[0], ((0, 2), (0, 6), (0, 2), (0, 0)), mode="edge")
    whole = Codec.of(open_vae(model)).encode(video[None])[0]
    np.testing.assert_allclose(latents_of(file), whole, atol=1e-5)


def test_an_odd_size_is_kept(capsys, tmp_path, model):
    clip = write(tmp_path / "clip.mp4", size=(17, 23))
    run(capsys, "encode", model, clip, "-o", tmp_path / "x.npz", "--pad")
    out = tmp_path / "out.mp4"
    code, result, err = run(capsys, "decode", model, tmp_path / "x.npz", "-o", out)
    assert code == 0 and "odd size" in err and media.read_video(out)[0].shape[1:3] == (17, 23)


def test_tiles_give_nearly_the_whole_picture(capsys, tmp_path, model):
    clip = write(tmp_path / "clip.mp4", frames=4, size=(32, 48))
    for name, extra in (("whole", []), ("tiled", ["--tile", "24"])):
        run(capsys, "encode", model, clip, "-o", tmp_path / f"{name}.npz", *extra)
    whole, tiled = (latents_of(tmp_path / f"{name}.npz") for name in ("whole", "tiled"))
    np.testing.assert_allclose(whole, tiled, atol=0.2 * np.abs(whole).max())
    code, result, _ = run(capsys, "decode", model, tmp_path / "tiled.npz", "-o",
                          tmp_path / "t.mp4", "--tile", "24")  # fmt: skip
    assert code == 0 and media.read_video(tmp_path / "t.mp4")[0].shape == (4, 32, 48, 3)


def test_the_model_may_be_left_out_or_be_an_autoencoder_alone(capsys, tmp_path):
    clip = write(tmp_path / "clip.mp4", frames=4, size=(32, 32))
    code, result, _ = run(capsys, "encode", clip, "-o", tmp_path / "x.npz")
    assert code == 0 and result["latents"] == [1, 4, 4, 32] and "toyworld" in result["model"]
    code, _, _ = run(capsys, "decode", tmp_path / "x.npz", "-o", tmp_path / "x.mp4")
    assert code == 0
    alone = write_alone(tmp_path / "alone")
    code, result, _ = run(capsys, "encode", alone, clip, "-o", tmp_path / "y.npz")
    assert code == 0 and result["latents"] == [1, 4, 4, 4]


BAD = {
    "frames": (dict(frames=10), [], "10 frames, not a multiple of 4; add --pad.*trim it to 8"),
    "few frames": (dict(frames=3), [], "3 frames, not a multiple of 4; add --pad, which holds the"),
    "odd size": (dict(size=(17, 30)), [], "30x17 is not whole latents of 8x8 .* 24x16 or 32x24.*"),
    "a tile": ({}, ["--tile", "20"], "--tile 20 is not a multiple of 8 pixels.*use 16"),
    "a word too many": ({}, ["more"], "takes a model and one file, and there is 'more'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_videos_and_options_are_one_line(capsys, tmp_path, model, case):
    form, extra, message = BAD[case]
    clip = write(tmp_path / "clip.mp4", **form)
    words = [*(word for word in extra if not word.startswith("-")), "-o", tmp_path / "x.npz"]
    words = words if words[0] == "more" else [*extra, "-o", tmp_path / "x.npz"]
    fails(capsys, ["encode", model, clip, *words], message)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_broken_files_are_one_line(capsys, tmp_path, model):
    clip = write(tmp_path / "clip.mp4", frames=48)
    body = clip.read_bytes()
    clip.write_bytes(body[: len(body) // 2])
    fails(capsys, ["encode", model, clip, "-o", tmp_path / "x.npz"], "clip.mp4 is truncated")
    clip.write_bytes(b"")
    fails(capsys, ["encode", model, clip, "-o", tmp_path / "x.npz"], "clip.mp4 is truncated or not")
    clip.write_bytes(without_frames())
    fails(capsys, ["encode", model, clip, "-o", tmp_path / "x.npz"], "clip.mp4 .*")
    fails(capsys, ["encode", model, "no.mp4", "-o", tmp_path / "x.npz"], "no file no.mp4")
    fails(capsys, ["encode", "no", clip, "-o", tmp_path / "x.npz"], "no model no; name a run")
    fails(capsys, ["encode", model, clip, "-o", tmp_path / "x.mp4"], "name it x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def without_frames():
    """An mp4 with a video stream in which there is no frame."""
    import io

    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.start_encoding()
        container.mux(stream.encode(None))
    return target.getvalue()


def test_a_file_that_lies_about_its_length_is_found_out(capsys, tmp_path, model, monkeypatch):
    """Its header says 12 frames and it has 11: it is read before that is known."""
    clip = write(tmp_path / "clip.mp4")
    frames = list(media.stream_frames(clip))
    monkeypatch.setattr(media, "stream_frames", lambda source: (f for f in frames[:11]))
    words = ["encode", model, clip, "-o", tmp_path / "x.npz"]
    fails(capsys, words, "has 11 frames, not a multiple of 4", lines=None)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_latents_of_another_model_are_refused_by_the_fields_that_differ(capsys, tmp_path, model):
    clip, file = write(tmp_path / "clip.mp4"), tmp_path / "x.npz"
    run(capsys, "encode", model, clip, "-o", file)
    words = ["decode", "toyworld", file, "-o", tmp_path / "out.mp4"]
    fails(capsys, words, r"another autoencoder.*vae.channels \(4 -> 32\).*vae.widths")
    params = tiny_parts()["params"]
    params["vae"]["decoder"]["linear"]["bias"] += 1
    other = write_tiny(tmp_path / "other", params=params, dtype="float32")
    words = ["decode", other, file, "-o", tmp_path / "out.mp4"]
    fails(capsys, words, "another autoencoder than .*other: weights ")
    assert not (tmp_path / "out.mp4").exists()


def test_nan_and_pickles_in_latents_are_one_line(capsys, tmp_path, model):
    clip, file = write(tmp_path / "clip.mp4"), tmp_path / "x.npz"
    run(capsys, "encode", model, clip, "-o", file)
    with np.load(file) as found:
        arrays = dict(found)
    words = ["decode", model, file, "-o", tmp_path / "out.mp4"]
    arrays["latents"][1, 0, 0, 0] = np.nan
    np.savez(file, **arrays)
    fails(capsys, words, "NaN or infinite latents, first in chunk 1 of 3", lines=None)
    np.savez(file, **arrays | {"fps": np.array({}, object)})
    fails(capsys, words, "fps of .* holds pickled Python objects")
    assert not (tmp_path / "out.mp4").exists()


def fails(capsys, argv, message, lines=1):
    """Exit code 2 and one line; a bar stands before it where work had begun (`lines` None)."""
    code, result, err = run(capsys, *argv)
    assert code == result["exit_code"] == 2, result
    assert re.search(message, result["error"]), result["error"]
    assert "Traceback" not in err and err.splitlines()[-1] == f"sora-jax: {result['error']}"
    assert err.count("\n") == 1 or lines is None, err
