"""A real disk fills up during a save, a log line and a sample: training goes on."""

import json
import os
import subprocess
import time

import jax
import numpy as np
import pytest

from sora_jax import media
from sora_jax.train import dit_run, loop, runner, writers
from sora_jax.train.checkpoint import Checkpoints
from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training

pytestmark = pytest.mark.alone
SIZE = 8 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MiB, where we may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place, leave=0):
    """Take all room but `leave` bytes."""
    with (place / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))


def fit(workdir, cfg, hooks):
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    return runner.run(
        dit_run.plan(cfg),
        rows,
        workdir=workdir,
        mesh=one_device(),
        writers=lambda progress: [writers.JsonLines(workdir / "metrics.jsonl")],
        hooks=hooks,
    )


@pytest.mark.parametrize("leave", [0, 200 << 10], ids=["no room", "room for half of it"])
def test_training_goes_on_and_the_next_save_succeeds(small_disk, leave, monkeypatch, caplog):
    """Full from step 3 to step 7: saves 4 and 6 and their lines find no room; 8 does.

    With room for half a checkpoint the write itself fails, on its way.
    """
    monkeypatch.setattr("sora_jax.train.checkpoint._ROOM", 0.0 if leave else 1.2)
    cfg = tiny_training(steps=9, checkpoint_every=2, eval_every=1)
    seen = []

    def samples(step, state):
        while step == 3 and not (small_disk / "checkpoints" / "2").exists():
            time.sleep(0.05)  # it is being written
        if 3 <= step < 7:
            fill(small_disk, leave)
        if step == 7:
            (small_disk / "ballast").unlink()
        seen.append((step, sorted(p.name for p in small_disk.glob("checkpoints/[0-9]*"))))
        frames = np.random.default_rng(step).integers(0, 255, (16, 64, 64, 3), np.uint8)
        media.write_video(small_disk / f"{step}.mp4", frames, 8.0)
        return {}

    result = fit(small_disk, cfg, loop.Hooks(samples=samples))
    assert result.steps == 9
    assert "training goes on" in caplog.text
    if not leave:
        assert "No space left on device" in caplog.text or "are free" in caplog.text
        assert "samples of step 4 were not written" in caplog.text
    during = [steps for step, steps in seen if 4 <= step < 7]
    assert all("2" in steps for steps in during)  # what was there before stays
    store = Checkpoints(small_disk / "checkpoints")
    assert store.latest == 9
    state, position = store.restore(
        result.state, jax.tree.map(lambda leaf: leaf.sharding, result.state)
    )
    assert position.next_batch == 9
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(result.state))
    lines = (small_disk / "metrics.jsonl").read_text().splitlines()
    assert len([line for line in lines if '"loss"' in line]) == 9


def test_lines_that_find_no_room_are_there_once_there_is_some(small_disk, caplog):
    """More of them than fit into the last block of the file."""
    log = writers.JsonLines(small_disk / "metrics.jsonl")
    log.scalars(0, {"loss": 0.0})
    fill(small_disk)
    for step in range(1, 200):
        log.scalars(step, {"loss": float(step)})
    assert caplog.text.count("its lines wait") == 1
    (small_disk / "ballast").unlink()
    log.scalars(200, {"loss": 200.0})
    lines = [json.loads(line) for line in (small_disk / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(201))
