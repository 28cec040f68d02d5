"""What is not finite never reaches the state, is counted, and many in a row have a consequence."""

import json

import jax
import numpy as np
import pytest

from sora_jax.errors import RunError
from sora_jax.sharding import mesh as meshes
from sora_jax.train import dit_run, loop, runner, writers
from sora_jax.train.checkpoint import Checkpoints
from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training


class Poisoned:
    """Batches of which those in `bad` have no number in them."""

    def __init__(self, rows, bad):
        self.rows, self.bad = rows, set(bad)

    @property
    def next_batch(self):
        return self.rows.next_batch

    @property
    def reading_since(self):
        return self.rows.reading_since

    def seek(self, step):
        self.rows.seek(step)

    def __next__(self):
        index, batch = self.rows.next_batch, next(self.rows)
        return (
            batch | {"tokens": np.full_like(batch["tokens"], np.nan)}
            if index in self.bad
            else batch
        )


def fit_poisoned(workdir, bad, **settings):
    cfg = tiny_training(checkpoint_every=2, **settings)
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    return runner.run(
        dit_run.plan(cfg),
        Poisoned(rows, bad),
        workdir=workdir,
        mesh=one_device(),
        writers=lambda progress: [writers.JsonLines(workdir / "metrics.jsonl")],
        hooks=loop.Hooks(),
    )


def test_an_update_that_is_not_finite_leaves_the_state_as_it_was():
    cfg = tiny_training()
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    built = runner.build(dit_run.plan(cfg), one_device())
    state, _ = built.step_fn(built.fresh(), meshes.put_batch(one_device(), rows[0]), 0.0)
    before = jax.device_get(state)
    batch = meshes.put_batch(one_device(), rows[1] | {"tokens": np.nan * rows[1]["tokens"]})
    for i in (1, 2):
        state, metrics = built.step_fn(state, batch, 0.0)
        assert (metrics["skipped"], metrics["skipped_in_row"]) == (i, i)
    for name in ("params", "ema", "opt_state"):
        jax.tree.map(
            np.testing.assert_array_equal,
            getattr(before, name),
            jax.device_get(getattr(state, name)),
        )
    state, metrics = built.step_fn(state, meshes.put_batch(one_device(), rows[1]), 0.0)
    assert (metrics["skipped"], metrics["skipped_in_row"]) == (2, 0)


def test_a_few_bad_updates_are_passed_over_and_told(tmp_path, caplog):
    result = fit_poisoned(tmp_path, bad=(1, 3))
    assert result.steps == 6
    assert "1 updates by step 2 were not finite" in caplog.text
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["skipped"], last["skipped_in_row"]) == (2, 0)


def test_many_in_a_row_stop_the_run_and_name_the_samples(tmp_path):
    """Batches of 8: the third to the fifth are samples 16 to 39."""
    with pytest.raises(RunError, match=r"3 updates up to step 5 \(samples 16 to 39\)"):
        fit_poisoned(tmp_path, bad=(2, 3, 4))


def test_or_roll_it_back_and_pass_over_them(tmp_path, caplog):
    """It goes on from the checkpoint of step 2 or 4, with batches that come after the bad ones."""
    result = fit_poisoned(tmp_path, bad=(2, 3, 4), on_skipped="rollback", steps=9)
    assert result.steps == 9
    assert "with other samples" in caplog.text
    position = Checkpoints(tmp_path / "checkpoints").restore(
        result.state, jax.tree.map(lambda leaf: leaf.sharding, result.state)
    )[1]
    assert position.next_batch > 9  # the run has seen more batches than it counts steps


def test_rolling_back_for_ever_is_refused(tmp_path):
    with pytest.raises(RunError, match="as far back as there is"):
        fit_poisoned(tmp_path, bad=range(2, 99), on_skipped="rollback", steps=9)
