"""Item 9: what a save costs the steps, and what a restart costs the run."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos import harness

SAVES, WINDOW = 5, 12  # steps from a save to the next
QUICKSTART = (
    "train --config quickstart --logger none --config.vae.loop.steps=30 "
    "--config.dit.loop.steps=100000 --config.dit.loop.checkpoint_every=25 "
    "--config.dit.loop.log_every=1 --config.dit.loop.eval_every=100000"
).split()


def stall(work: Path) -> dict:
    """Steps' worth of time that a save of a state of 100 MB takes from the loop.

    Each step is waited for, so that its time is its own. Of the steps from one save to the next,
    what they took beyond as many times the median step is the cost of that save: the call and
    whatever the writing in the background takes from the steps that follow.
    """
    place = harness.fresh(work / "stall")
    steps = SAVES * WINDOW + 3
    subprocess.run(
        [sys.executable, "-m", "tests.chaos.costs", str(place), str(steps)],
        env=harness.environment(1, quick_compile=False),
        check=True,
    )
    times = json.loads((place / "times.json").read_text())
    seconds = [b - a for a, b in zip(times["at"], times["at"][1:], strict=False)]
    # seconds[i] is from the end of step i + 1 to that of i + 2: a save after step s is in [s - 1].
    step = statistics.median(seconds[2 : WINDOW - 1])
    costs = []
    for k in range(1, SAVES + 1):
        window = seconds[k * WINDOW - 1 : (k + 1) * WINDOW - 1]
        costs.append((sum(window) - len(window) * step) / step)
    calls = [seconds[k * WINDOW - 1] / step - 1 for k in range(1, SAVES + 1)]
    return {
        "state_megabytes": times["megabytes"],
        "step_seconds": round(step, 4),
        "save_stall_steps": round(max(calls), 3),
        "each": [round(call, 3) for call in calls],
        "with_slower_steps_after": round(statistics.median(costs), 3),
    }


def restart(work: Path) -> dict:
    """From the start of the process to the first step after it, programs being in the cache.

    The quickstart's own clips, models and batches; the lengths of both trainings are set.
    """
    run = work / "quickstart"
    if not (run / "checkpoints").exists():  # prepared once: clips, latents, autoencoder
        harness.fresh(run)
    prepared = _until(run, lambda: bool(_steps(run)))
    found = []
    for _ in range(3):
        last = max(_steps(run))
        lines = len(harness.lines(run / "metrics.jsonl"))
        # The line of a step is written when the next is done, so this is a step too long.
        seconds = _until(run, lambda n=lines: len(harness.lines(run / "metrics.jsonl")) > n)
        found.append({"from_step": last, "seconds": round(seconds, 2)})
    return {
        "prepared_in": round(prepared, 1),
        "restarts": found,
        "restart_seconds": statistics.median(item["seconds"] for item in found),
    }


def _steps(run: Path) -> list[int]:
    """Of the checkpoints that are complete."""
    found = (run / "checkpoints").glob("*/_CHECKPOINT_METADATA")
    return [int(path.parent.name) for path in found if path.parent.name.isdigit()]


def _until(run: Path, is_there) -> float:
    """Start the quickstart, kill it once something is there, and give the seconds until then."""
    began = time.monotonic()
    with (run / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sora_jax.cli.main", *QUICKSTART, "--workdir", str(run)],
            env=harness.environment(1, quick_compile=False),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not is_there():
        assert process.poll() is None, (run / "log").read_text()[-2000:]
        time.sleep(0.02)
    seconds = time.monotonic() - began
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return seconds


def _train(place: Path, steps: int) -> None:
    """A transformer whose state is 100 MB, saved every WINDOW steps; the time of each step."""
    import dataclasses

    import jax

    from sora_jax.models.dit import DiTConfig
    from sora_jax.train import dit_run, loop, runner
    from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training

    cfg = tiny_training(
        steps=steps, batch_size=32, log_every=1000, checkpoint_every=WINDOW, eval_every=1
    )
    model = dataclasses.replace(
        cfg.model, dit=DiTConfig(width=256, depth=8, num_heads=4, dtype="float32")
    )
    model = dataclasses.replace(model, text=dataclasses.replace(model.text, width=256))
    cfg = dataclasses.replace(cfg, model=model)
    found: dict = {"at": []}

    def look(state):
        found["at"].append(time.perf_counter())
        found["megabytes"] = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
        return {}

    runner.run(
        dit_run.plan(cfg),
        dit_run.make_rows(cfg, tiny_clips(64), TOKENIZER, seed=0),
        workdir=place,
        mesh=one_device(),
        writers=lambda progress: [],
        hooks=loop.Hooks(evaluate=look),
    )
    (place / "times.json").write_text(json.dumps(found))


if __name__ == "__main__":
    from sora_jax.cli import runtime

    runtime.prepare()
    _train(Path(sys.argv[1]), int(sys.argv[2]))
