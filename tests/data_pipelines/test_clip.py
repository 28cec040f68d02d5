"""Clips have the rate, size and length that they state, without bars and never enlarged."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from data_pipelines.stages.clip import ClipConfig, fit_size
from sora_jax import media
from tests.data_pipelines import films

pytest.importorskip("scenedetect", reason="needs the extra data: make data-film installs it")


@pytest.mark.parametrize("rate", [12.0, 24.0, 25.0, 29.97, 60.0])
def test_clips_last_as_long_as_their_span_and_are_never_faster_than_asked(tmp_path, rate):
    frames = films.scene(1, int(rate * 3.3))
    found = films.clips(films.write(tmp_path / "a.mp4", frames, rate), tmp_path)
    assert len(found) == 2 and found[0].cuts == ("file", "length")
    for clip in found:
        written, fps = media.read_video(tmp_path / clip.media.path)
        assert fps == pytest.approx(clip.media.fps) and fps <= 24.0
        assert fps == pytest.approx(min(rate, 24.0), rel=1e-3)
        assert len(written) == clip.media.num_frames
        start, end = clip.span
        assert abs(len(written) / fps - (end - start)) <= 1 / fps
        assert written.shape[1:3] == (clip.media.height, clip.media.width)


def test_a_variable_rate_keeps_its_time(tmp_path):
    """A bar moves by 2 pixels a frame: 20 frames at 30 a second, then 20 at 10."""
    path = tmp_path / "a.mkv"
    ground = films.scene(1, 1)[0] // 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(40):
            still = ground.copy()
            still[:, 2 * i : 2 * i + 8] = 255
            picture = av.VideoFrame.from_ndarray(still, format="rgb24")
            picture.pts = i * 33 if i < 20 else 660 + (i - 20) * 100
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    record = films.ingest(path)
    assert record.probe.is_variable and record.probe.num_frames == 40
    found = films.clips(path, tmp_path, ClipConfig(max_seconds=8.0, short_side=64))
    frames, fps = media.read_video(tmp_path / found[0].media.path)
    for moment in (0.3, 1.0, 2.0):
        number = moment / 0.033 if moment < 0.66 else 20 + (moment - 0.66) / 0.1
        columns = frames[round(moment * fps)].min(-1).mean(0)
        place = np.flatnonzero(columns > 180).mean() * 96 / frames.shape[2]
        assert place == pytest.approx(2 * number + 3.5, abs=4)


def test_bars_go_on_both_sides_and_a_dark_scene_stays(tmp_path):
    inner = films.scene(1, 30, size=(52, 96)) // 2 + 100
    boxed = np.pad(inner, ((0, 0), (10, 10), (0, 0), (0, 0)))
    (clip,) = films.clips(films.write(tmp_path / "a.mp4", boxed), tmp_path)
    top, left, height, width = clip.media.crop
    assert 10 <= top <= 13 and 46 <= height <= 52 and (left, width) == (0, 96)
    frames, _ = media.read_video(tmp_path / clip.media.path)
    assert frames[:, 0].mean() > 60 and frames[:, -1].mean() > 60
    dark = np.pad(inner, ((0, 0), (20, 0), (0, 0), (0, 0)))  # black above only: a night sky
    (clip,) = films.clips(films.write(tmp_path / "b.mp4", dark), tmp_path)
    assert clip.media.crop == (0, 0, 72, 96)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((720, 1280), (128, 228)),
        ((1280, 720), (228, 128)),
        ((90, 161), (90, 160)),
        ((3, 5), (2, 4)),
    ],
)
def test_sizes_are_even_keep_the_aspect_and_never_grow(size, expected):
    assert fit_size(*size, ClipConfig(short_side=128)) == expected
    height, width = fit_size(*size, ClipConfig(short_side=128, multiple=16))
    assert height % 16 == width % 16 == 0


def test_pixels_that_are_not_square_become_so(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 72, 72, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for frame in films.scene(1, 24, size=(72, 72)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    (clip,) = films.clips(path, tmp_path)
    assert (clip.probe.height, clip.probe.width) == (72, 96)
    assert (clip.media.height, clip.media.width) == (64, 86)


def test_stills_and_animations_are_sources_too(tmp_path):
    """A PNG and a clip of one frame are one frame; animated GIF and WebP are clips."""
    frames = films.scene(1, 24)
    Image.fromarray(frames[0]).save(tmp_path / "still.png")
    films.write(tmp_path / "one.mp4", frames[:1])
    images = [Image.fromarray(frame) for frame in frames]
    for suffix in ("gif", "webp"):
        target = io.BytesIO()
        images[0].save(
            target, suffix, save_all=True, append_images=images[1:], duration=100, loop=0
        )
        (tmp_path / f"moving.{suffix}").write_bytes(target.getvalue())
    for name, count in (("still.png", 1), ("one.mp4", 1), ("moving.gif", 24), ("moving.webp", 24)):
        found = films.clips(tmp_path / name, tmp_path)
        assert sum(clip.media.num_frames for clip in found) == count, name
        assert found[0].media.fps == pytest.approx(24.0 if count == 1 else 10.0), name


def test_equal_work_has_equal_names_and_bytes_and_settings_change_the_name(tmp_path):
    path = films.write(tmp_path / "a.mp4", films.scene(1, 30))
    (one,) = films.clips(path, tmp_path / "x")
    (two,) = films.clips(path, tmp_path / "y")
    assert (one.id, one.media) == (two.id, two.media)
    (other,) = films.clips(path, tmp_path, ClipConfig(short_side=48, min_seconds=0.5))
    assert other.id != one.id


def test_a_short_shot_is_rejected_with_its_length(tmp_path):
    path = films.write(tmp_path / "a.mp4", films.scene(1, 8))
    (clip,) = films.clips(path, tmp_path)
    assert clip.decision.reasons[0][0] == "too_short" and "0.33 s" in clip.decision.reasons[0][1]
