"""From clips that were kept to shards, whoever ran the stages before."""

import dataclasses
import hashlib

import pytest

from data_pipelines import kept
from data_pipelines.records import ClipRecord, Media, content_id
from sora_jax.data import index, records
from sora_jax.data.schema import Caption
from sora_jax.errors import RunError, UsageError


@pytest.fixture
def make_clip(make_record, tmp_path):
    """Clip `i`, cut into the working directory."""

    def make(i):
        record = make_record(i)
        path = tmp_path / "work" / f"{i}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.video)
        media = Media(
            path=path.name,
            sha256=hashlib.sha256(record.video).hexdigest(),
            num_frames=8,
            height=32,
            width=32,
            fps=8.0,
            crop=(0, 0, 32, 32),
        )
        return ClipRecord(
            id=content_id("test", i),
            path=f"/home/someone/{i}.mov",
            source=f"{i}.mov",
            source_sha256="ab",
            span=(0.5, 1.5),
            media=media,
            scores={"motion": i / 8},
            captions=(Caption(f"number {i}", 0.0, 1.0),),
        )

    return make


def test_any_order_of_clips_gives_the_same_shards(make_clip, tmp_path):
    clips = [make_clip(i) for i in range(12)]
    rejected = make_clip(12).reject("blurred", "too blurred")
    counts = [
        kept.write_kept(tmp_path / name, found, tmp_path / "work", heldout_share=0.2)
        for name, found in {"a": [*clips, rejected], "b": clips[::-1]}.items()
    ]
    manifests = [(tmp_path / name / index.MANIFEST).read_bytes() for name in ("a", "b")]
    assert manifests[0] == manifests[1]  # which names the SHA-256 of every other file
    assert counts[0] == counts[1] and sum(counts[0].values()) == 12
    for split, clip in ((s, c) for s, cs in kept.split_clips(clips, 0.2).items() for c in cs):
        source = records.open_split(tmp_path / "a", split)
        (place,) = (i for i, name in enumerate(source.ids) if name == clip.id)
        found = source[place]
        assert found.captions == clip.captions and found.scores == clip.scores
        assert found.video == (tmp_path / "work" / clip.media.path).read_bytes()
        assert found.extra["origin"]["span"] == [0.5, 1.5]
        assert "/home/someone" not in str(dataclasses.asdict(found))


def test_a_clip_stays_in_its_split_when_more_come(make_clip):
    """Both ways a clip may be held out: by its own draw, and as the only one of a small set."""
    clips = [make_clip(i) for i in range(40)]
    some, more = (kept.split_clips(part, 0.3) for part in (clips[:20], clips))
    assert {clip.id for clip in some["train"]} <= {clip.id for clip in more["train"]}
    assert {clip.id for clip in some["heldout"]} <= {clip.id for clip in more["heldout"]}
    assert 4 < len(more["heldout"]) < 20
    small = kept.split_clips(clips[:2], 1e-9)
    assert len(small["heldout"]) == len(small["train"]) == 1
    assert list(kept.split_clips(clips[:1], 0.5)) == ["train"]
    assert list(kept.split_clips(clips, 0.0)) == ["train"]


def test_a_cut_file_that_is_another_one_is_named(make_clip, tmp_path):
    clip = make_clip(0)
    path = tmp_path / "work" / clip.media.path
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"0\.mp4 of 0\.mov is not the file that was cut"):
        kept.write_kept(tmp_path / "data", [clip], tmp_path / "work")
    path.unlink()
    with pytest.raises(RunError, match="can't be read"):
        kept.write_kept(tmp_path / "data", [clip], tmp_path / "work")
    assert not (tmp_path / "data").exists()


def test_clips_that_are_not_ready_are_refused(make_clip, tmp_path):
    clip = make_clip(0)
    with pytest.raises(UsageError, match="no clip is kept"):
        kept.write_kept(tmp_path / "data", [clip.reject("dark", "x")], tmp_path)
    with pytest.raises(UsageError, match="has not been captioned"):
        kept.write_kept(tmp_path / "data", [clip.replace(captions=())], tmp_path)
    with pytest.raises(UsageError, match="has not been cut"):
        kept.write_kept(tmp_path / "data", [clip.replace(media=None)], tmp_path)
