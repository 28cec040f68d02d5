"""Duplicates are found by the banded index just as by comparing all pairs."""

import cv2
import numpy as np

from data_pipelines.stages import dedup
from data_pipelines.stages.dedup import DedupConfig, Fingerprint
from sora_jax import media
from tests.data_pipelines import films
from tests.data_pipelines.test_records import FULL


def clips(hashes, sizes):
    return [
        FULL.replace(
            id=f"c{i}",
            decision=None,
            hashes=tuple(f"{(value >> shift) & (2**64 - 1):016x}" for shift in (128, 64, 0)),
            media=FULL.media.__class__(**FULL.media.__dict__ | {"num_frames": int(sizes[i])}),
        )
        for i, value in enumerate(hashes)
    ]


def near_and_far(seed, count=60):
    """Hashes of which many lie within a few bits of another, spread over all bands."""
    rng = np.random.default_rng(seed)
    hashes = []
    for _ in range(count):
        value = int.from_bytes(rng.bytes(24))
        if hashes and rng.random() < 0.7:
            value = hashes[rng.integers(len(hashes))]
            for bit in rng.choice(192, rng.integers(0, 14), replace=False):
                value ^= 1 << int(bit)
        hashes.append(value)
    return clips(hashes, rng.integers(10, 90, count))


def test_the_index_misses_no_pair():
    """Compared with all pairs: a clip is marked if and only if a better one is within the limit."""
    for seed in range(5):
        found = near_and_far(seed)
        marked = dedup.mark_duplicates(found, DedupConfig(max_bits=10))
        ranked = sorted(dedup.candidate(record) for record in found)
        for record in marked:
            own = dedup.candidate(record)
            better = [
                other.id
                for other in ranked
                if other < own and (other.hash ^ own.hash).bit_count() <= 10
            ]
            assert bool(record.duplicate_of) == bool(better)
            assert record.duplicate_of in ("", *better)
        assert 10 < sum(bool(record.duplicate_of) for record in marked) < 55


def test_the_order_of_the_clips_does_not_matter():
    found = near_and_far(1)
    marked = {r.id: r.duplicate_of for r in dedup.mark_duplicates(found, DedupConfig())}
    turned = {r.id: r.duplicate_of for r in dedup.mark_duplicates(found[::-1], DedupConfig())}
    assert marked == turned


def test_a_recoded_and_resized_copy_is_near_and_another_scene_far(tmp_path):
    frames = films.scene(1, 24)
    (tmp_path / "a.mp4").write_bytes(media.encode_mp4(frames, 24.0))
    copy = np.stack([cv2.resize(f, (80, 60), interpolation=cv2.INTER_AREA) for f in frames])
    (tmp_path / "b.mp4").write_bytes(media.encode_mp4(copy, 24.0, crf=22))
    (tmp_path / "c.mp4").write_bytes(media.encode_mp4(films.scene(2, 24), 24.0))
    found = []
    for name in "abc":
        cut = FULL.media.__class__(**FULL.media.__dict__ | {"path": f"{name}.mp4"})
        (record,) = Fingerprint(str(tmp_path))(FULL.replace(media=cut, id=name, decision=None))
        found.append(record)
    one, copied, other = (dedup.candidate(record).hash for record in found)
    assert (one ^ copied).bit_count() <= DedupConfig().max_bits
    assert (one ^ other).bit_count() > 40


def test_rejected_clips_outdo_nobody():
    one, two = clips([5, 5], [50, 40])
    marked = dedup.mark_duplicates([one.reject("x", "y"), two], DedupConfig())
    assert not marked[1].duplicate_of
    assert dedup.mark_duplicates([one, two], DedupConfig())[1].duplicate_of == "c0"


def test_of_files_with_the_same_bytes_the_first_by_name_stays():
    found = [
        FULL.replace(id=name, source=name, decision=None, source_sha256=sha)
        for name, sha in (("b", "1"), ("a", "1"), ("c", "2"))
    ]
    kept = {record.source: not record.is_rejected for record in dedup.distinct_files(found)}
    assert kept == {"a": True, "b": False, "c": True}
