"""Writing shards, reading them at random, and what happens with records that are broken."""

import dataclasses
import functools
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import shards, tfds_writer
from sora_jax.data import index, records, schema
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import RunError, UsageError


def latents_record(i, side=2):
    return VideoRecord(
        id=f"l{i}",
        captions=(Caption(f"number {i}", 0.0, 1.0),),
        fps=8.0,
        num_frames=4,
        height=side * 8,
        width=16,
        latents=np.full((1, side, 2, 3), i, np.float16),
    )


@pytest.mark.parametrize("shard", [4096, 4])
def test_shards_give_back_records_in_order_with_their_index(
    tmp_path, make_record, monkeypatch, shard
):
    """Whatever the number of files: a split does not have to fit into memory."""
    monkeypatch.setattr(tfds_writer, "SHARD_RECORDS", shard)
    made = [make_record(i, num_frames=4 + 4 * (i % 2)) for i in range(6)]
    written = []
    shards.write(
        tmp_path / "data",
        {"train": iter(made), "test": made[:2]},
        progress=lambda split, count: written.append((split, count)),
    )
    source = records.open_split(tmp_path / "data", "train")
    assert [source[i] for i in (5, 0, 3)] == [made[i] for i in (5, 0, 3)]
    assert list(source.ids) == [record.id for record in made]
    assert [source.index.shape(i) for i in range(6)] == [record.shape for record in made]
    assert len(records.open_split(tmp_path / "data", "test")) == 2
    assert ("train", 6) in written and ("test", 2) in written
    assert len(list((tmp_path / "data").rglob("*train*.array_record*"))) == (2 if shard == 4 else 1)
    frames = records.decode(source[1])
    assert frames.shape == (8, 32, 32, 3) and frames.dtype == np.uint8
    with pytest.raises(UsageError, match="no split 'valid'"):
        records.open_split(tmp_path / "data", "valid")


def test_writing_again_under_the_same_fingerprint_does_nothing(tmp_path):
    made = [latents_record(i) for i in range(3)]
    shards.write(tmp_path / "data", {"train": made}, fingerprint="a")
    assert shards.is_complete(tmp_path / "data", "a")
    assert not shards.is_complete(tmp_path / "data", "b")

    def explode():
        raise AssertionError("rendered again")
        yield

    shards.write(tmp_path / "data", {"train": explode()}, fingerprint="a")
    shards.write(tmp_path / "data", {"train": made[:2]}, fingerprint="b")
    assert len(records.open_split(tmp_path / "data", "train")) == 2


def test_an_interrupted_write_leaves_nothing_that_looks_finished(tmp_path):
    def broken():
        yield latents_record(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(tmp_path / "data", {"train": broken()}, fingerprint="a")
    assert not (tmp_path / "data").exists()
    shards.write(tmp_path / "data", {"train": [latents_record(0)]}, fingerprint="a")
    assert len(records.open_split(tmp_path / "data", "train")) == 1


def test_shards_never_replace_a_folder_of_other_files(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="other files"):
        shards.write(tmp_path, {"train": [latents_record(0)]})
    assert (tmp_path / "precious.txt").exists()


def test_a_bundle_is_no_shards_though_it_has_a_manifest_too(tmp_path):
    (tmp_path / index.MANIFEST).write_text("{}")
    with pytest.raises(UsageError, match="other files"):
        shards.write(tmp_path, {"train": [latents_record(0)]})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1, "schema": 1}'])
def test_shards_with_a_damaged_or_old_manifest_are_written_again(tmp_path, content):
    made = [latents_record(i) for i in range(3)]
    shards.write(tmp_path / "data", {"train": made}, fingerprint="a")
    (tmp_path / "data" / index.MANIFEST).write_text(content)
    with pytest.raises(UsageError, match="write the shards again"):
        index.read_index(tmp_path / "data")
    assert not shards.is_complete(tmp_path / "data", "a")
    shards.write(tmp_path / "data", {"train": made}, fingerprint="a")
    assert len(records.open_split(tmp_path / "data", "train")) == 3


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(UsageError, match="'heldout' has no record"):
        shards.write(tmp_path / "data", {"train": [latents_record(0)], "heldout": []})


def test_damaged_bytes_of_a_shard_cost_the_record_they_hold(tmp_path, make_record):
    """Its checksum names the one record; the others are read and the loader's tolerance counts."""
    made = [make_record(i) for i in range(4)]
    shards.write(tmp_path / "data", {"train": made})
    (shard,) = (tmp_path / "data").rglob("*.array_record-*")
    content = bytearray(shard.read_bytes())
    content[200:216] = bytes(16)  # in the first record
    shard.write_bytes(content)
    source = records.open_split(tmp_path / "data", "train")
    with pytest.raises(UsageError, match="'clip0' .* is damaged"):
        source[0]
    tolerant = records.Tolerant(source, records.decode, max_bad_share=0.25)
    assert np.array_equal(tolerant[0], records.decode(made[1])) and set(tolerant.bad) == {0}


def test_worker_processes_give_the_same_records_in_order():
    function = functools.partial(latents_record, side=3)
    alone = list(shards.rendered(function, 40, start=5))
    spread = list(shards.rendered(function, 40, start=5, workers=2))
    assert [r.id for r in alone] == [r.id for r in spread] == [f"l{i}" for i in range(5, 45)]
    assert all(np.array_equal(a.latents, b.latents) for a, b in zip(alone, spread, strict=True))


def test_bad_records_are_skipped_named_and_stop_the_run_past_the_share(make_record, caplog):
    made = [make_record(i) for i in range(10)]
    for i in (2, 3, 7):
        made[i] = dataclasses.replace(made[i], video=made[i].video[:500])
    source = records.Tolerant(made, records.decode, max_bad_share=0.3)
    good = [source[i] for i in range(10)]
    assert np.array_equal(good[2], good[4]) and np.array_equal(good[3], good[4])
    assert set(source.bad) == {2, 3, 7}
    assert sum("is left out" in line for line in caplog.messages) == 3
    strict = records.Tolerant(made, records.decode, max_bad_share=0.2)
    with pytest.raises(RunError, match="3 of 10 records can't be used"):
        [strict[i] for i in range(10)]


def test_a_record_that_is_not_what_it_states_is_refused(make_record):
    record = dataclasses.replace(make_record(0), num_frames=12)
    with pytest.raises(UsageError, match=r"clip0.*\(8, 32, 32\).*\(12, 32, 32\)"):
        records.decode(record)


def test_shards_that_are_not_those_of_the_index_are_named(tmp_path):
    """The index of five records laid over the shards of four, and then a shard that is gone."""
    for count in (4, 5):
        made = [latents_record(i) for i in range(count)]
        shards.write(tmp_path / f"data{count}", {"train": made})
    for part in (index.MANIFEST, index.FOLDER):
        old, new = (tmp_path / f"data{count}" / part for count in (4, 5))
        shutil.rmtree(old) if old.is_dir() else old.unlink()
        new.rename(old)
    with pytest.raises(UsageError, match="4 records and its index 5"):
        records.open_split(tmp_path / "data4", "train")
    with pytest.raises(UsageError, match="no shards in"):
        records.open_split(tmp_path / "data5", "train")


@pytest.mark.parametrize("name", ["array_record", "dataset_info.json", "features.json", "fps.npy"])
@pytest.mark.parametrize("damage", ["gone", "empty", "other"])
def test_a_damaged_file_of_shards_is_named(tmp_path, name, damage):
    shards.write(tmp_path / "data", {"train": [latents_record(i) for i in range(4)]})
    (path,) = (p for p in (tmp_path / "data").rglob("*") if name in p.name)
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else b"\x93" * 70000)
    with pytest.raises(UsageError, match="write (the shards|them) again"):
        records.open_split(tmp_path / "data", "train")[0]


def test_equal_records_give_equal_files(tmp_path, make_record):
    """In another process too: the order of a protobuf map is drawn anew in each."""
    made = [make_record(i) for i in range(3)] + [latents_record(3)]
    shards.write(tmp_path / "here", {"train": made})
    (tmp_path / "records").write_text(repr([schema.to_fields(record) for record in made]))
    program = (
        "import ast, sys; from pathlib import Path; from data_pipelines import shards;"
        "from sora_jax.data import schema; root = Path(sys.argv[1]);"
        "fields = ast.literal_eval((root / 'records').read_text());"
        "shards.write(root / 'there', {'train': map(schema.from_fields, fields)});"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, capture_output=True)
    names = [path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.*")]
    assert len(names) > 10
    for name in names:
        if (tmp_path / "here" / name).is_file():
            here, there = ((tmp_path / root / name).read_bytes() for root in ("here", "there"))
            assert here == there, name


def test_a_record_that_is_another_one_is_caught_by_its_hash(tmp_path, make_record):
    """400 bytes inside the mdat of a stored mp4, in a shard whose own checksums are right."""
    record = make_record(0, size=64)
    video = bytearray(record.video)
    start = video.index(b"mdat") + 200
    video[start : start + 400] = bytes(400)
    damaged = dataclasses.replace(record, video=bytes(video))
    good = [make_record(1), record]
    shards.write(tmp_path / "good", {"train": good})
    shards.write(tmp_path / "bad", {"train": [good[0], damaged]})
    shutil.rmtree(tmp_path / "good" / "videos")
    (tmp_path / "bad" / "videos").rename(tmp_path / "good" / "videos")
    source = records.open_split(tmp_path / "good", "train")
    assert source[0] == good[0]
    with pytest.raises(UsageError, match="'clip0' .* is damaged .*SHA-256"):
        source[1]
    unchecked = records.open_split(tmp_path / "good", "train", check_hash=False)
    assert unchecked[1].video == damaged.video


def test_two_records_of_one_id_are_refused(tmp_path):
    made = [latents_record(i) for i in (0, 1, 0)]
    with pytest.raises(UsageError, match="'train' has two records 'l0'"):
        shards.write(tmp_path / "data", {"train": made})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_but_the_shards_before(tmp_path):
    """A limit on the size of files stands for the disk: the same error on the same path."""
    old = [latents_record(i) for i in range(2)]
    shards.write(tmp_path / "data", {"train": old}, fingerprint="old")
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from data_pipelines import shards; from tests.data.test_records import latents_record;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "made = (latents_record(i, side=200) for i in range(99));"
        "shards.write(Path(sys.argv[1]), {'train': made}, fingerprint='new')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "data"], capture_output=True, text=True
    )
    assert "RunError: cannot write" in done.stderr.splitlines()[-1]
    assert "run the same command again" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    source = records.open_split(tmp_path / "data", "train")
    assert np.array_equal(source[1].latents, old[1].latents)


def test_text_states_come_back(tmp_path):
    text = schema.TextStates(
        encoder="small-1", states=tuple(np.full((n, 4), n, np.float16) for n in (3, 1))
    )
    captions = (Caption("one two three", 0.0, 1.0), Caption("one", 0.0, 0.5))
    record = dataclasses.replace(latents_record(0), captions=captions, text=text)
    shards.write(tmp_path / "data", {"train": [record]})
    found = records.open_split(tmp_path / "data", "train")[0].text
    assert found.encoder == "small-1" and [s.shape for s in found.states] == [(3, 4), (1, 4)]
    assert all(np.array_equal(a, b) for a, b in zip(found.states, text.states, strict=True))
    with pytest.raises(UsageError, match="1 captions and text states of 2"):
        dataclasses.replace(record, captions=captions[:1])


def test_the_index_says_what_its_records_are(tmp_path, make_record):
    made = [make_record(i, num_frames=4 + 4 * (i % 2)) for i in range(5)]
    shards.write(tmp_path / "data", {"train": made}, settings={"crf": 10})
    found = index.read_index(tmp_path / "data")
    split = found.split("train")
    assert found.settings == {"crf": 10}
    assert split.ids[-1] == "clip4" and split.ids[1:3] == ["clip1", "clip2"]
    assert split.fps.tolist() == [29.97] * 5
    assert split.payload_bytes.tolist() == [len(record.video) for record in made]
    assert split.num_captions.tolist() == [2] * 5
    assert split.caption_chars[0] == len("clip number 0") + len("part")
    assert split.caption_words[0] == 4
    for i, record in enumerate(made):
        records.check(schema.to_fields(record), split.sha256[i])
        assert isinstance(split.num_frames, np.memmap)


def test_load_all_stacks_latents_and_keeps_captions():
    columns = records.load_all([latents_record(i) for i in range(5)])
    assert columns.columns["latents"].shape == (5, 1, 2, 2, 3)
    assert columns[3]["latents"].mean() == 3
    assert columns[3]["record"].caption == "number 3" and len(columns) == 5
    with pytest.raises(UsageError, match="load_all needs one"):
        records.load_all([latents_record(0), latents_record(1, side=4)])


def test_load_all_leaves_out_broken_clips(make_record):
    made = [make_record(i) for i in range(4)]
    made[1] = dataclasses.replace(made[1], video=made[1].video[:500])
    columns = records.load_all(made, max_bad_share=0.5)
    assert [record.id for record in columns.columns["record"]] == ["clip0", "clip2", "clip3"]
    assert columns.columns["video"].shape == (3, 8, 32, 32, 3)
