"""Damage to shards is found and named, wherever it is."""

import dataclasses
import shutil

import pytest

from data_pipelines import shards
from data_pipelines.verify import verify
from sora_jax.data import index
from sora_jax.errors import UsageError


@pytest.fixture
def written(make_record, tmp_path):
    """Two splits of 64x64 clips and the records of `train`."""
    made = [make_record(i, size=64) for i in range(3)]
    shards.write(tmp_path / "data", {"train": made, "heldout": [make_record(9)]})
    return tmp_path / "data", made


def shard_of(directory, split):
    (path,) = directory.rglob(f"*{split}.array_record-*")
    return path


def test_whole_shards_pass(written):
    directory, _ = written
    (directory / "notes.txt").write_text("mine")
    told = []
    found = verify(directory, lambda *what: told.append(what))
    assert not found.damage and found.records == 4
    assert found.files == len([p for p in directory.rglob("*") if p.is_file()]) - 2
    assert found.unlisted == ("notes.txt",)
    assert ("files", found.files, found.files) in told and ("records of train", 3, 3) in told


def test_400_bytes_inside_a_stored_mp4_are_found(written):
    """In the shard as it lies on the disk."""
    directory, made = written
    path = shard_of(directory, "train")
    content = bytearray(path.read_bytes())
    start = content.index(made[1].video) + made[1].video.index(b"mdat") + 200
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    found = verify(directory)
    assert found.damaged_records == ["train:clip1"]
    assert found.damaged_files == [path.relative_to(directory).as_posix()]
    assert {item.file for item in found.damage} == {path.relative_to(directory).as_posix()}


def test_a_record_changed_with_all_file_sums_made_right_again_is_found(written, tmp_path):
    """Whoever changes a record in a shard and in the manifest forgets the index."""
    directory, made = written
    video = bytearray(made[1].video)
    start = video.index(b"mdat") + 200
    video[start : start + 400] = bytes(400)
    made[1] = dataclasses.replace(made[1], video=bytes(video))
    shards.write(tmp_path / "other", {"train": made})
    shutil.copy(shard_of(tmp_path / "other", "train"), shard_of(directory, "train"))
    found = verify(directory)
    (item,) = (item for item in found.damage if item.record)
    assert (item.split, item.record) == ("train", "clip1") and "SHA-256" in item.reason


@pytest.mark.parametrize("name", ["fps.npy", "sha256.npy", "id.npy", "dataset_info.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damage_to_any_other_file_is_found(written, name, damage):
    directory, _ = written
    path = next(p for p in sorted(directory.rglob(name)))
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage != "gone":
        content[-1] ^= 1
        path.write_bytes(content[:-1] if damage == "cut" else content)
    found = verify(directory)
    assert path.relative_to(directory).as_posix() in found.damaged_files


def test_what_are_no_shards_is_refused(written, tmp_path):
    directory, _ = written
    with pytest.raises(UsageError, match="no shards in"):
        verify(tmp_path)
    (directory / index.MANIFEST).write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        verify(directory)
