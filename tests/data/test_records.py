"""Writing shards, reading them at random, and what happens with records that are broken."""

import dataclasses
import functools
import json

import numpy as np
import pytest

from data_pipelines import shards, tfds_writer
from sora_jax.data import records
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
    monkeypatch.setattr(tfds_writer, "_SHARD", shard)
    monkeypatch.setattr(tfds_writer, "_BATCH", 2)
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
    assert list(source.shapes) == [record.shape for record in made]
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
    assert sum("skipping record" in line for line in caplog.messages) == 3
    strict = records.Tolerant(made, records.decode, max_bad_share=0.2)
    with pytest.raises(RunError, match="3 of 10 records can't be read"):
        [strict[i] for i in range(10)]


def test_a_record_that_is_not_what_it_states_is_refused(make_record):
    record = dataclasses.replace(make_record(0), num_frames=12)
    with pytest.raises(UsageError, match=r"clip0.*\(8, 32, 32\).*\(12, 32, 32\)"):
        records.decode(record)


def test_a_damaged_shard_is_named(tmp_path):
    shards.write(tmp_path / "data", {"train": [latents_record(i) for i in range(4)]})
    index = tmp_path / "data" / "index.json"
    content = json.loads(index.read_text())
    content["splits"]["train"]["ids"].append("more")
    index.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="4 records and its index 5"):
        records.open_split(tmp_path / "data", "train")
    index.unlink()
    with pytest.raises(UsageError, match="no shards in"):
        records.open_split(tmp_path / "data", "train")


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
