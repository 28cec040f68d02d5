"""The record that stages pass along survives its way through JSON."""

import dataclasses

import pytest

from data_pipelines import records
from data_pipelines.records import ClipRecord, Decision, Media, Probe
from sora_jax.data.schema import Caption

FULL = ClipRecord(
    id="a1",
    path="films/film.mp4",
    source="film.mp4",
    source_sha256="00ff",
    licence="CC0",
    probe=Probe(format="mp4", codec="h264", num_frames=240, height=72, width=128, fps=23.976),
    span=(1.0 / 3.0, 2.5),
    cuts=("hard", "fade"),
    media=Media(
        path="clips/a1.mp4",
        sha256="ab",
        num_frames=52,
        height=72,
        width=128,
        fps=24.0,
        crop=(0, 0, 72, 128),
    ),
    scores={"motion": 0.1 + 0.2},
    hashes=("00000000000000ff",),
    decision=Decision(is_kept=False, reasons=(("motion", "motion 0.3 is under 1"),)),
    captions=(Caption("a hill", 0.0, 2.1),),
    extra={"captioner": "sidecar"},
)


def test_a_record_goes_through_json_unchanged():
    """Every field is set to something else than its default, so a field left out would show."""
    for field in dataclasses.fields(ClipRecord):
        if field.default is not dataclasses.MISSING:
            assert getattr(FULL, field.name) != field.default or field.name == "duplicate_of"
    full = FULL.replace(duplicate_of="b2")
    assert records.from_json(records.to_json(full)) == full


def test_a_bare_record_goes_through_json_unchanged(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"12")
    bare = records.seed(tmp_path / "film.mp4", tmp_path)
    assert records.from_json(records.to_json(bare)) == bare
    assert bare.source == "film.mp4" and bare.probe is None


def test_other_json_is_refused():
    with pytest.raises(ValueError, match="not a record"):
        records.from_json('{"id": "a"}')


def test_ids_depend_on_every_part():
    assert records.content_id("a", 1.0) == records.content_id("a", 1.0)
    assert len({records.content_id("a", 1.0), records.content_id("a", 1.5)}) == 2
    assert len({records.content_id("ab", "c"), records.content_id("a", "bc")}) == 2
