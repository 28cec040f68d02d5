"""Planned rows from shards: the same for any hosts, workers and restarts; bad records accounted."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from data_pipelines import shards
from sora_jax import media
from sora_jax.data import loader, records
from sora_jax.data.fill import PackedRows
from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.loader import Reading
from sora_jax.data.mixture import Shards, open_mixture
from sora_jax.data.packing import Clip, RowSize, pack_row
from sora_jax.data.pixels import PixelConfig, PixelData
from sora_jax.data.plan import Plan
from sora_jax.data.quarantine import Quarantine
from sora_jax.data.rows import PlannedBatches, PlannedRows, Reader
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.data.views import View, stored
from sora_jax.errors import RunError, UsageError

CELL = (CHUNK_FRAMES, 8, 8)
IN_PROCESS = Reading()
SIZE = RowSize(tokens=64, frames=16, text=12, clips=4)
# Frames, height and width: images, square, landscape and portrait.
SHAPES = ((1, 32, 32), (4, 32, 16), (8, 16, 32), (16, 32, 32), (12, 16, 24))


def latent_record(i):
    frames, height, width = SHAPES[i % len(SHAPES)]
    latents = np.full((max(1, frames // 4), height // 8, width // 8, 2), i, np.float16)
    return VideoRecord(
        id=f"clip{i}",
        captions=(Caption(f"number {i}", 0.0, 1.0),),
        fps=8.0,
        num_frames=frames,
        height=height,
        width=width,
        latents=latents,
    )


def video_record(i):
    frames, height, width = SHAPES[i % len(SHAPES)]
    video = np.random.default_rng(i).integers(0, 256, (frames, height, width, 3)).astype(np.uint8)
    record = dataclasses.replace(latent_record(i), latents=None, video=media.encode_mp4(video, 8))
    return record


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    directory = tmp_path_factory.mktemp("latents") / "shards"
    shards.write(directory, {"train": [latent_record(i) for i in range(60)]})
    return directory


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    directory = tmp_path_factory.mktemp("videos") / "shards"
    shards.write(directory, {"train": [video_record(i) for i in range(30)]})
    return directory


class Load:
    """A clip with a word that is drawn; records whose id is in `bad` can't be read."""

    def __init__(self, mixture, bad=()):
        self.mixture, self.bad = mixture, set(bad)

    def __call__(self, place, rng):
        word = rng.integers(1, 1000, 1)
        record = self.mixture.record(place)
        if record.id in self.bad:
            raise UsageError(f"{record.id} is planted as bad")
        return Clip(
            latents=record.latents.astype(np.float32),
            fps=record.fps,
            size=(record.height, record.width),
            text=word.astype(np.int32),
            text_span=np.array([[0.0, 1.0]], np.float32),
            sample_id=0,
        )


def make(directory, *, host=(0, 1), bad=(), reading=IN_PROCESS, path=None, **options):
    mixture = open_mixture([Shards(directory=directory)], lambda clips: [stored(clips, CELL)])
    plan = Plan(mixture.plan_parts(CELL), PackedRows(SIZE), seed=5)
    reader = Reader(plan, Load(mixture, bad))
    source = PlannedRows(reader, SIZE, (1, 1, 1), channels=2)
    batches = loader.batches(
        source, batch_size=4, seed=5, shuffle=False, host=host, reading=reading
    )
    quarantine = Quarantine(mixture.totals, max_share=options.pop("max_share", 0.001), path=path)
    return PlannedBatches(batches, reader, quarantine, mixture.name, rows=4, **options)


def digest(batch):
    whole = hashlib.sha256()
    for name in sorted(batch):
        whole.update(name.encode() + np.ascontiguousarray(batch[name]).tobytes())
    return whole.hexdigest()


def together(parts):
    """The global batch of the hosts' slices."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def hashes(open_host, schedule):
    """A hash a step, while `schedule` = [(hosts, steps)] changes the hosts at each restart."""
    found = []
    for hosts, steps in schedule:
        sources = [open_host((i, hosts)) for i in range(hosts)]
        for source in sources:
            source.seek(len(found))
        for _ in range(steps):
            found.append(digest(together([next(source) for source in sources])))
        for source in sources:
            source.close()
    return found


def test_hosts_and_restarts_see_the_same_global_batches(latents):
    def open_host(host):
        return make(latents, host=host)

    one = hashes(open_host, [(1, 24)])
    assert len(set(one)) == 24
    assert hashes(open_host, [(2, 24)]) == one
    assert hashes(open_host, [(4, 24)]) == one
    assert hashes(open_host, [(2, 7), (1, 6), (4, 11)]) == one
    # The control: another seed or a step that is left out shows.
    assert hashes(open_host, [(1, 7)]) != one[1:8]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_workers_see_the_same_global_batches(latents, workers):
    one = hashes(lambda host: make(latents, host=host), [(1, 12)])
    reading = Reading(workers=workers, threads=2)
    assert hashes(lambda host: make(latents, host=host, reading=reading), [(1, 12)]) == one


def test_pixels_too_whatever_the_hosts(videos):
    """The cuts (moment, place, view) are in the hash: they are the pixels."""
    cfg = PixelConfig(views=(View(max_frames=8, max_area=32 * 24), View(fps=4.0)), batch_size=4)
    whole = PixelData(cfg, [Shards(directory=videos)], seed=1)
    threads = dataclasses.replace(cfg, reading=Reading(threads=3))
    other = PixelData(threads, [Shards(directory=videos)], seed=1)
    one = hashes(lambda host: whole.batches(host=host), [(1, 20)])
    assert len(set(one)) == 20
    assert hashes(lambda host: other.batches(host=host), [(2, 6), (1, 5), (4, 9)]) == one
    cut = whole.batches()[0]
    assert cut["video"].dtype == np.uint8 and cut["video"].shape[1] % CHUNK_FRAMES == 0


def test_a_planned_row_is_what_packing_its_clips_gives(latents):
    batches = make(latents)
    mixture = open_mixture([Shards(directory=latents)], lambda clips: [stored(clips, CELL)])
    plan = Plan(mixture.plan_parts(CELL), PackedRows(SIZE), seed=5)
    batch = batches[3]
    for number, row in enumerate(range(12, 16)):
        clips = []
        for slot, place in enumerate(plan.row(row)):
            bits = np.random.Philox(key=[5, row], counter=[0, 0, 0, slot])
            clips.append(Load(mixture)(place, np.random.Generator(bits)))
        expected = pack_row(clips, SIZE, (1, 1, 1))
        for name in expected.keys() - {"sample_id"}:
            assert np.array_equal(batch[name][number], expected[name]), name


def test_an_epoch_ends_with_an_account_of_every_clip(latents, tmp_path):
    told = []
    batches = make(
        latents,
        bad=["clip7", "clip21"],
        max_share=0.05,
        path=tmp_path / "q.jsonl",
        report=told.append,
    )
    while len(told) < 2:
        next(batches)
    line = f"of {latents}:train: 58 clips seen + 2 quarantined + 0 filtered = 60 of 60 in the index"
    assert told == [f"epoch 0 {line}", f"epoch 1 {line}"]
    entries = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert sorted(entry["id"] for entry in entries) == ["clip21", "clip7"]
    assert all("planted as bad" in entry["reason"] for entry in entries)
    # A restart in the middle of an epoch gives the same account.
    again = []
    batches = make(
        latents,
        bad=["clip7", "clip21"],
        max_share=0.05,
        path=tmp_path / "q.jsonl",
        report=again.append,
    )
    batches.seek(2)
    while not again:
        next(batches)
    assert again == told[:1]


def test_a_bad_clip_changes_nothing_but_its_place(latents, tmp_path):
    """Its stand-in has the same size, so every other token, clip and row stays as it is."""
    good, bad = make(latents), make(latents, bad=["clip7"], max_share=0.05)
    changed = 0
    for step in range(8):
        first, second = good[step], bad[step]
        differs = np.any(first["tokens"] != second["tokens"], axis=-1)
        assert set(np.unique(first["tokens"][differs][:, 0])) <= {7}
        assert 7 not in second["tokens"]
        assert np.array_equal(first["segment"], second["segment"])
        changed += differs.any()
    assert changed


def test_a_class_without_a_good_clip_leaves_its_place_as_padding(latents):
    images = [f"clip{i}" for i in range(60) if SHAPES[i % 5][0] == 1]
    alike = [f"clip{i}" for i in range(60) if SHAPES[i % 5] == (8, 16, 32)]
    good, bad = make(latents), make(latents, bad=[*images, *alike], max_share=1.0)
    for step in range(6):
        first, second = good[step], bad[step]
        gone = np.isin(first["tokens"][..., 0], [int(name[4:]) for name in [*images, *alike]])
        lost = (first["role"] == 0) & gone
        assert (second["role"] == 0).sum() == (first["role"] == 0).sum() - lost.sum()


def test_too_many_bad_records_stop_the_run(latents, tmp_path):
    batches = make(latents, bad=[f"clip{i}" for i in range(5)], max_share=0.05, path=tmp_path / "q")
    with pytest.raises(RunError, match=r"4 of 60 records can't be used, over the limit of 3.*/q;"):
        for _ in range(20):
            next(batches)
    # Another process of the run, or its restart, begins with what is in the file.
    batches = make(latents, bad=["clip0"], max_share=0.05, path=tmp_path / "q")
    with pytest.raises(RunError, match="can't be used"):
        for _ in range(20):
            next(batches)


def test_corrupted_bytes_of_a_video_are_caught_by_its_hash(videos, tmp_path):
    """400 bytes in the picture data, which the shard's own checksums agree with."""
    made = [video_record(i) for i in range(30)]
    content = bytearray(made[3].video)
    place = content.find(b"mdat") + 1000
    content[place : place + 400] = np.random.default_rng(0).bytes(400)
    made[3] = dataclasses.replace(made[3], video=bytes(content))
    damaged = tmp_path / "shards"
    shards.write(damaged, {"train": made})
    hashes = "index/train/sha256.npy"
    (damaged / hashes).write_bytes((videos / hashes).read_bytes())
    batches = PixelData(
        PixelConfig(batch_size=4, max_bad_share=0.1), [Shards(directory=damaged)], seed=1
    ).batches(tmp_path)
    for _ in range(12):
        next(batches)
    (line,) = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["id"] == "clip3" and "SHA-256" in entry["reason"]
    # The control: the decoder itself finds nothing wrong.
    assert records.decode(made[3]).shape == SHAPES[3] + (3,)
