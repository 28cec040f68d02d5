"""Reading and writing of video and image files, and what happens with bad ones."""

import errno
import io

import av
import numpy as np
import pytest
from PIL import Image

from sora_jax import files, media, sheets
from sora_jax.errors import LimitError, RunError, UsageError


def moving_square(num_frames=16, size=32, step=1):
    """A saturated red square that moves right on blue; frames can be told apart."""
    video = np.zeros((num_frames, size, size, 3), np.uint8)
    video[..., 2] = 200
    for t in range(num_frames):
        left = 2 + t * step
        video[t, 8:20, left : left + 10] = (255, 0, 0)
    return video


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def test_shard_encoding_keeps_saturated_edges():
    video = moving_square()
    content = media.encode_mp4(video, 8)
    assert psnr(media.decode_mp4(content), video) > 45
    assert len(content) < 8192


def test_written_video_reads_back_with_its_rate_and_colours(tmp_path):
    video = moving_square()
    media.write_video(tmp_path / "a.mp4", video, 12.5, upscale=4)
    frames, fps = media.read_video(tmp_path / "a.mp4")
    assert fps == 12.5 and frames.shape == (16, 128, 128, 3)
    # Pixel centres away from edges: the colour itself survives, chroma subsampling blurs edges.
    assert np.abs(frames[0, 48, 24].astype(int) - (255, 0, 0)).max() <= 6
    assert np.abs(frames[0, 4, 4].astype(int) - (0, 0, 200)).max() <= 6
    assert media.probe(tmp_path / "a.mp4") == media.VideoInfo(
        num_frames=16, height=128, width=128, fps=12.5
    )


@pytest.mark.parametrize(("fps", "expect"), [(4, [0, 2, 4, 6]), (16, [0, 0, 1, 1, 2, 2, 3, 3])])
def test_resampling_takes_the_nearest_frames(fps, expect):
    content = media.encode_mp4(moving_square(8, step=2), 8)
    frames, rate = media.read_video(content, fps=fps)
    assert rate == fps
    starts = [int(np.argmax(frame[12, :, 0] > 128) - 2) // 2 for frame in frames]
    assert len(starts) == fps  # one second
    assert np.abs(np.array(starts[: len(expect)]) - expect).max() <= 1
    assert starts == sorted(starts)


def test_a_span_is_the_same_frames_as_of_the_whole(tmp_path):
    """Also where the start lies between key frames, and when resampled."""
    content = media.encode_mp4(moving_square(40, 64), 8)
    whole = list(media.stream_frames(content))
    part = list(media.stream_frames(content, span=(1.5, 4.0)))
    assert len(part) == 20 and np.array_equal(np.stack(part), np.stack(whole[12:32]))
    slow = list(media.stream_frames(content, span=(1.5, 4.0), fps=4))
    assert np.array_equal(np.stack(slow), np.stack(whole[12:32:2]))
    with pytest.raises(UsageError, match="no frame between"):
        list(media.stream_frames(content, span=(9.0, 10.0)))


def test_rotated_phone_video_comes_upright():
    """The track's display matrix (quarter turn clockwise) is applied."""
    video = np.zeros((4, 32, 64, 3), np.uint8)
    video[:, :, :32] = 255  # left half white: upright after a clockwise turn, the top is white
    content = media.encode_mp4(video, 8)
    one, zero, full = (1 << 16).to_bytes(4), bytes(4), (1 << 30).to_bytes(4)
    identity = one + zero * 3 + one + zero * 3 + full
    minus = (2**32 - (1 << 16)).to_bytes(4)
    clockwise = zero + one + zero + minus + zero * 4 + full
    header = content.index(b"tkhd")
    place = content.index(identity, header)
    frames, _ = media.read_video(content[:place] + clockwise + content[place + 36 :])
    assert frames.shape == (4, 64, 32, 3)
    assert frames[:, :28].min() > 200 and frames[:, 36:].max() < 50


@pytest.mark.parametrize("keep", [0, 40, 900, -200])
def test_truncated_video_is_one_line_that_names_the_file(tmp_path, keep):
    path = tmp_path / "cut.mp4"
    path.write_bytes(media.encode_mp4(moving_square(), 8)[:keep])
    with pytest.raises(UsageError, match="cut.mp4 is truncated") as caught:
        media.read_video(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extra_bytes", [0, 50], ids=["between packets", "in a packet"])
def test_video_cut_behind_its_index_is_reported(tmp_path, extra_bytes):
    """With the index in front a cut file opens; the missing frames must be noticed."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    path = tmp_path / "front.mp4"
    with (
        av.open(io.BytesIO(media.encode_mp4(noise, 8))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(media.read_video(path)[0]) == 24
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    path.write_bytes(path.read_bytes()[: sorted(starts)[12] + extra_bytes])
    with pytest.raises(UsageError, match="front.mp4 is truncated"):
        media.read_video(path)


@pytest.mark.parametrize("name", ["http://example.com/a.mp4", "rtsp://host/a"])
def test_urls_are_refused(name):
    with pytest.raises(UsageError, match="URL"):
        media.read_video(name)
    with pytest.raises(UsageError, match="URL"):
        media.read_image(name)


def test_a_playlist_cannot_open_other_files(tmp_path):
    secret = tmp_path / "secret.mp4"
    media.write_video(secret, moving_square(), 8)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n")
    with pytest.raises(UsageError, match="list.m3u8"):
        media.read_video(playlist)


def test_limits_hold_while_decoding():
    content = media.encode_mp4(moving_square(), 8)
    assert len(media.read_video(content, max_frames=16)[0]) == 16
    with pytest.raises(LimitError, match="15 frames"):
        media.read_video(content, max_frames=15)
    with pytest.raises(LimitError, match="pixels"):
        media.read_video(content, max_pixels=16 * 32 * 32 - 1)
    with pytest.raises(LimitError, match="32x32"):
        list(media.stream_frames(content, max_frame_pixels=1000))


def test_missing_folder_odd_size_and_wrong_arrays_are_usage_errors(tmp_path):
    video = moving_square()
    with pytest.raises(UsageError, match="no/such does not exist"):
        media.write_video(tmp_path / "no" / "such" / "a.mp4", video, 8)
    with pytest.raises(UsageError, match="31x32 is odd"):
        media.write_video(tmp_path / "a.mp4", video[:, :, :31], 8)
    with pytest.raises(UsageError, match=r"uint8\[32, 32, 3\]"):
        media.encode_mp4(video[0], 8)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_run_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(RunError, match="no space left"):
        media.write_video(tmp_path / "a.mp4", moving_square(), 8)
    assert list(tmp_path.iterdir()) == []


def test_images_round_trip_and_bad_ones_are_named(tmp_path):
    image = moving_square()[0]
    media.write_png(tmp_path / "a.png", image)
    assert np.array_equal(media.read_image(tmp_path / "a.png"), image)
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "clear.png")
    assert media.read_image(tmp_path / "clear.png").min() == 255
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("hello")
    for name in ("cut.png", "text.png", "none.png"):
        with pytest.raises(UsageError, match=name):
            media.read_image(tmp_path / name)
    with pytest.raises(LimitError, match="32x32"):
        media.read_image(tmp_path / "a.png", max_pixels=1000)


def test_contact_sheet_shows_each_clip_caption_and_mark():
    videos = [moving_square(), moving_square(8, 64)]
    sheet = sheets.contact_sheet(videos, ["a red square " * 40, "b"], [True, False], frames=4)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert (sheet == (26, 154, 60)).all(-1).any() and (sheet == (208, 32, 32)).all(-1).any()
    short = sheets.contact_sheet(videos, ["a", "b"], [True, False], frames=4)
    assert len(sheet) > len(short) and sheet.shape[1] == short.shape[1]
    with pytest.raises(UsageError):
        sheets.contact_sheet([])
