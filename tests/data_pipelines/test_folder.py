"""A folder of someone's videos becomes records, or one error that says all that is wrong."""

import numpy as np
import pytest

from data_pipelines import folder
from sora_jax import media
from sora_jax.data import records
from sora_jax.errors import UsageError

FORM = folder.ClipFormat(size=(32, 32), num_frames=8, fps=8.0)


def write_clip(directory, name, seconds=4, caption="a thing moves", fps=16):
    """A clip whose red channel counts the quarter seconds, with grey bars left and right."""
    frames = np.full((int(seconds * fps), 64, 96, 3), 128, np.uint8)
    for t, frame in enumerate(frames):
        frame[:, 16:80] = (t * 4 // fps * 10, 0, 0)
    (directory / f"{name}.mp4").write_bytes(media.encode_mp4(frames, fps))
    if caption is not None:
        (directory / f"{name}.txt").write_text(caption)


def test_videos_are_cut_into_windows_of_the_wanted_form(tmp_path):
    write_clip(tmp_path, "a", caption=" a red\n thing  grows brighter \n")
    write_clip(tmp_path, "b", seconds=1)
    (tmp_path / "notes.md").write_text("not a video")
    found = folder.folder_records(tmp_path, FORM)
    assert [record.id for record in found] == ["a@0", "a@8", "a@16", "a@24", "b@0"]
    assert found[0].caption == "a red thing grows brighter"
    assert found[0].captions[0].end == 1.0
    frames = records.decode(found[1])
    assert frames.shape == (8, 32, 32, 3)
    # The second second, at 8 fps: quarters 4..7, two frames each, and no bars after the crop.
    expected = np.repeat([40, 50, 60, 70], 2)
    assert np.abs(frames[:, 16, 16, 0].astype(int) - expected).max() <= 10
    assert frames[:, :, 4:28, 1].max() < 30


def test_long_videos_give_windows_spread_over_all_of_them(tmp_path):
    write_clip(tmp_path, "a", seconds=6)
    found = folder.folder_records(tmp_path, FORM, max_windows=3)
    assert [record.extra["start"] for record in found] == [0.0, 2.5, 5.0]


def test_heldout_windows_are_the_last_of_videos_with_several(tmp_path):
    write_clip(tmp_path, "a", seconds=4)
    write_clip(tmp_path, "b", seconds=2)
    splits = folder.split(folder.folder_records(tmp_path, FORM))
    assert [record.id for record in splits["heldout"]] == ["a@24"]
    assert [record.id for record in splits["train"]] == ["a@0", "a@8", "a@16", "b@0", "b@8"]
    short = folder.split([r for r in splits["train"] if r.source == "b"])
    assert [record.id for record in short["heldout"]] == ["b@8"]
    assert folder.split(short["train"])["heldout"] == []


def test_all_problems_are_reported_in_one_line(tmp_path):
    write_clip(tmp_path, "good")
    write_clip(tmp_path, "nocaption", caption=None)
    write_clip(tmp_path, "empty", caption=" \n")
    write_clip(tmp_path, "short", seconds=0.5)
    write_clip(tmp_path, "cut")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UsageError) as caught:
        folder.folder_records(tmp_path, FORM)
    message = str(caught.value)
    assert message.startswith("6 problems in") and "\n" not in message
    for words in (
        "nocaption.txt is missing",
        "empty.txt is empty",
        "short.mp4 lasts 0.50 s, clips need 1.00 s",
        "cut.mp4 is truncated",
        "text.mp4 is truncated or not a video",
        "text.txt is not UTF-8",
    ):
        assert words in message
    assert "good" not in message


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(UsageError, match="no video in"):
        folder.folder_records(tmp_path, FORM)
    with pytest.raises(UsageError, match="no folder"):
        folder.folder_records(tmp_path / "no", FORM)


@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (16, 16), (33, 47)])
def test_fit_crops_the_centre_to_the_size(shape):
    frame = np.zeros((*shape, 3), np.uint8)
    middle = np.s_[shape[0] // 2 - 4 : shape[0] // 2 + 4, shape[1] // 2 - 4 : shape[1] // 2 + 4]
    frame[middle] = 255
    small = folder.fit(frame, (32, 48))
    assert small.shape == (32, 48, 3)
    rows, columns = np.nonzero(small[..., 0] > 128)
    assert abs(rows.mean() - 15.5) <= 1.5 and abs(columns.mean() - 23.5) <= 1.5
