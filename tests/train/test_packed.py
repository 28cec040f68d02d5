"""Training on packed rows of many shapes from shards of latents: one program, nothing lost."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_pipelines import shards
from sora_jax.data.loader import Reading
from sora_jax.data.mixture import Shards
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import RunError, UsageError
from sora_jax.train import dit_run, writers
from sora_jax.train.dit_run import LatentClips, RowMaker
from sora_jax.train.objectives import dit_objective
from sora_jax.train.packed import PackedData, PackingConfig, choose_captions
from tests.train.helpers import CAPTIONS, TOKENIZER, one_device, tiny_training

# Frames, height and width: images and clips of 4 to 64 frames; square, landscape and portrait.
SHAPES = (
    (1, 32, 32), (1, 24, 40), (1, 40, 24), (4, 32, 32), (8, 32, 16), (8, 16, 32),
    (12, 24, 24), (16, 32, 24), (16, 24, 32), (24, 16, 24), (32, 32, 32), (64, 16, 16),
    (64, 24, 16), (48, 16, 40),
)  # fmt: skip
PACKING = PackingConfig(row_tokens=128, max_clips=8, max_frames=32)


def latent_record(i, shape, **changes):
    frames, height, width = shape
    rng = np.random.default_rng(i)
    latents = rng.normal(size=(max(1, frames // 4), height // 8, width // 8, 4))
    fields = dict(
        id=f"clip{i}",
        captions=(Caption(CAPTIONS[i % 4], 0.0, frames / 8),),
        fps=8.0,
        num_frames=frames,
        height=height,
        width=width,
        latents=latents.astype(np.float16),
    )
    return VideoRecord(**(fields | changes))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """112 clips of 14 shapes, and one that is too large for a row."""
    directory = tmp_path_factory.mktemp("mixed") / "shards"
    made = [latent_record(i, SHAPES[i % len(SHAPES)]) for i in range(112)]
    made.append(latent_record(112, (64, 64, 64)))
    shards.write(directory, {"train": made})
    return directory


def data(directory, cfg, packing=PACKING):
    return PackedData(cfg, packing, [Shards(directory=directory)], TOKENIZER, seed=0)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fourteen_shapes_train_in_one_program_and_every_clip_is_accounted_for(mixed, tmp_path):
    packed, told = data(mixed, tiny_training(batch_size=2)), []
    steps = -(-packed.plan.epoch_start(1) // 2)
    cfg = tiny_training(steps=steps, batch_size=2, eval_every=8)
    rows = packed.batches(tmp_path, report=told.append)
    result = dit_run.train_dit(
        cfg,
        rows,
        dit_run.first_batches(packed.batches(), 4, 2),
        workdir=tmp_path,
        mesh=one_device(),
        writers=lambda _: [writers.JsonLines(tmp_path / "metrics.jsonl")],
    )
    rows.close()
    assert result.steps == steps and result.compiles == 1
    assert packed.plan.padding_share < 0.06
    name = f"{mixed}:train"
    assert told == [
        f"epoch 0 of {name}: 112 clips seen + 0 quarantined + 1 filtered = 113 of 113 in the index"
    ]
    written = [line for line in lines(tmp_path / "metrics.jsonl") if "loss" in line]
    assert all(np.isfinite(line["loss"]) for line in written)
    for line in written[1:]:
        assert 0 <= line["padding_share"] < 0.5 and 0 <= line["data_wait_share"] <= 1
        assert line["clips_per_second"] > 0 and line["rss_gib"] > 0
        shares = [value for name, value in line.items() if name.startswith("clip_tokens_")]
        assert sum(shares) == pytest.approx(1)


def test_a_clip_alone_in_its_row_is_the_row_of_the_memory_path(tmp_path):
    """Two ways to a row, one result: tokens, places, text and what must be given."""
    cfg = tiny_training(batch_size=1)
    for still_share in (0.0, 1.0):
        cfg = dataclasses.replace(cfg, still_share=still_share, global_share=1.0)
        rng = np.random.default_rng(0)
        both = rng.normal(size=(8, 2, 2, 4)).astype(np.float16)  # plain, then begun by its image
        directory = tmp_path / f"shards{still_share}"
        shards.write(directory, {"train": [latent_record(0, (16, 16, 16), latents=both)]})
        packing = PackingConfig(row_tokens=16, max_clips=1, max_frames=4)
        batch = data(directory, cfg, packing).batches()[0]
        clips = LatentClips(
            latents=both[None, :4],
            held=both[None, 4:],
            captions=[[(CAPTIONS[0], 0.0, 2.0)]],
            fps=8.0,
            size=(16, 16),
        )
        maker = RowMaker(cfg, clips, TOKENIZER)
        row = maker({"number": 0}, np.random.default_rng(0))
        for name in row.keys() - {"sample_id"}:
            assert np.array_equal(batch[name][0], row[name]), name
        assert batch["needs_first"].all() == bool(still_share)


def test_a_packed_clip_has_the_loss_that_it_has_alone(mixed):
    """The mean over a row's clips: what shares the row with a clip does not matter to it."""
    cfg = tiny_training(batch_size=1)
    packed = data(mixed, cfg)
    number = next(i for i in range(20) if len(packed.plan.row(i)) > 2)
    batch = packed.batches()[number]
    loss_fn = jax.jit(dit_objective(cfg.model, cfg.diffusion))
    params = dit_run.plan(cfg).init(jax.random.key(0))
    whole, _ = loss_fn(params, batch, jax.random.key(1))
    alone = []
    for slot in range(len(packed.plan.row(number))):
        only = dict(batch)
        others = (batch["segment"] != slot) & (batch["segment"] >= 0)
        only["role"] = np.where(others, 2, batch["role"])
        alone.append(float(loss_fn(params, only, jax.random.key(1))[0]))
    assert float(whole) == pytest.approx(np.mean(alone), rel=1e-4)


def test_records_that_are_not_what_the_index_says_are_quarantined(tmp_path):
    made = [latent_record(i, SHAPES[3]) for i in range(8)]
    made[2] = dataclasses.replace(made[2], latents=made[2].latents[:, :2])
    made[5] = dataclasses.replace(made[5], captions=(Caption("zyxw vuts rqpo", 0.0, 0.5),))
    shards.write(tmp_path / "shards", {"train": made})
    cfg = tiny_training(batch_size=1)
    some = dataclasses.replace(PACKING, max_bad_share=0.25)
    rows = data(tmp_path / "shards", cfg, some).batches(tmp_path)
    for _ in range(4):
        next(rows)
    reasons = {line["id"]: line["reason"] for line in lines(tmp_path / "quarantine.jsonl")}
    assert set(reasons) == {"clip2", "clip5"}
    assert "its index says (1, 4, 4, 4)" in reasons["clip2"] and "15 tokens" in reasons["clip5"]
    strict = data(tmp_path / "shards", cfg).batches()
    with pytest.raises(RunError, match="of 8 records can't be used, over the limit of 0"):
        for _ in range(4):
            next(strict)


def test_captions_of_the_whole_clip_are_drawn_and_timed_ones_come_together():
    whole = [Caption("a", 0.0, 2.0), Caption("b", 0.0, 2.0)]
    timed = [Caption("c", 0.0, 1.0), Caption("d", 1.0, 2.0)]
    rng = np.random.default_rng(0)
    drawn = [choose_captions(whole + timed, 2.0, 0.5, rng) for _ in range(200)]
    seen = {tuple(c.text for c in chosen) for chosen in drawn}
    assert seen == {("a",), ("b",), ("c", "d")}
    assert 60 < sum(len(chosen) == 2 for chosen in drawn) < 140
    assert choose_captions(whole[:1], 2.0, 0.0, rng) == whole[:1]


def test_images_get_the_share_of_tokens_that_is_asked_for(mixed):
    cfg = tiny_training(batch_size=2)
    packed = data(mixed, cfg, dataclasses.replace(PACKING, image_share=0.25, max_clips=16))
    assert packed.plan.parts == (f"{mixed}:train images", f"{mixed}:train videos")
    rows = packed.batches()
    images = tokens = 0
    for step in range(packed.plan.epoch_start(1) // 2):
        sizes = rows[step]["clip_grid"].prod(axis=-1)
        for number, row in enumerate((2 * step, 2 * step + 1)):
            is_image = [place.part == 0 for place in packed.plan.row(row)]
            images += sizes[number, : len(is_image)][is_image].sum()
        tokens += sizes.sum()
    assert images / tokens == pytest.approx(0.25, abs=0.03)
    with pytest.raises(UsageError, match="image_share is 1.5"):
        data(mixed, cfg, dataclasses.replace(PACKING, image_share=1.5))


def test_bad_settings_are_refused(mixed):
    with pytest.raises(UsageError, match="row of 0 clips"):
        PackingConfig(row_tokens=64, max_clips=0)
    with pytest.raises(ValueError, match="workers -1"):
        Reading(workers=-1)
    small = PackingConfig(row_tokens=2, max_clips=1)
    with pytest.raises(UsageError, match="fits a row"):
        data(mixed, tiny_training(), small)
