"""Items 1 and 2: killed at random it is the same run; other processes and meshes see the same."""

import functools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

from tests.chaos import harness

CHECKPOINT_EVERY = 4


def kills(work: Path, count: int, seed: int) -> dict:
    """One run of two processes, killed `count` times at random, against one that is left alone.

    A kill counts as exact if everything that is said after it until the next one is what the
    undisturbed run said: ids, draws, losses, and the digest of the whole state after each step.
    """
    steps = 16 * count + 10
    options = ("--steps", steps, "--checkpoint-every", CHECKPOINT_EVERY, "--pace", 0.02)
    quiet = harness.fresh(work / "quiet")
    assert harness.start(quiet, 2, 2, *options)[0] == 0, "the undisturbed run failed"
    rng = random.Random(seed)
    hurt = harness.fresh(work / "hurt")
    done: list[dict] = []
    progress = harness.Progress("kills", count)

    def keep_killing(is_over):
        said = hurt / "states.jsonl"
        while len(done) < count and not is_over.is_set():
            begun = len(harness.lines(said))
            # A new checkpoint has to be possible; then anything from at once to eight steps later.
            wanted = begun + rng.randint(CHECKPOINT_EVERY + 1, CHECKPOINT_EVERY + 6)
            before = harness.pids(hurt, 2)
            while len(harness.lines(said)) < wanted and not is_over.is_set():
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.25))
            before = harness.pids(hurt, 2)
            victims = rng.choice([[0], [1], [1], [0, 1]])
            hit = [before[i] for i in victims if i in before and harness.kill(before[i])]
            if not hit:
                continue
            done.append({"after_lines": len(harness.lines(said)), "victims": victims})
            progress(len(done))
            while harness.pids(hurt, 2) == before and not is_over.is_set():
                time.sleep(0.05)

    script = harness.Script(keep_killing)
    code, said = harness.start(hurt, 2, 2, *options)
    script.finish()
    assert code == 0, said[-2000:]
    exact = _exact(quiet, hurt, done)
    controls = {name: _control(work, quiet, name) for name in ("data", "key")}
    return {
        "kills": len(done),
        "kills_bit_exact": exact,
        "steps": steps,
        "final_state_equal": _digests(quiet) == _digests(hurt),
        "controls_detected": controls,
    }


def _exact(quiet: Path, hurt: Path, done: list[dict]) -> int:
    """Kills after which all that was said is what the undisturbed run said."""
    reference = {line["step"]: line["sha256"] for line in harness.lines(quiet / "states.jsonl")}
    states = harness.lines(hurt / "states.jsonl")
    ends = [kill["after_lines"] for kill in done[1:]] + [len(states)]
    good = 0
    for kill, end in zip(done, ends, strict=True):
        after = states[kill["after_lines"] : end]
        good += bool(after) and all(reference[x["step"]] == x["sha256"] for x in after)
    same = harness.told(quiet) == harness.told(hurt) and _digests(quiet) == _digests(hurt)
    return good if same else 0


def _control(work: Path, quiet: Path, tamper: str) -> bool:
    """Whether the same comparison sees that a run went on with other data, or another key."""
    hurt = harness.fresh(work / f"control-{tamper}")
    steps = len(harness.told(quiet)["state"])
    shutil.copytree(quiet / "checkpoints", hurt / "checkpoints")
    newest = max(int(path.name) for path in (hurt / "checkpoints").glob("[0-9]*"))
    shutil.rmtree(hurt / "checkpoints" / str(newest))  # the end is trained again
    options = ("--steps", steps, "--checkpoint-every", CHECKPOINT_EVERY, "--tamper", tamper)
    assert harness.start(hurt, 2, 2, *options)[0] == 0
    seen = harness.told(hurt)
    same = all(seen[kind][key] == harness.told(quiet)[kind][key]
               for kind in ("state", "loss") for key in seen[kind])  # fmt: skip
    return not same


def _digests(workdir: Path) -> dict:
    return json.loads((workdir / "digests.json").read_text())


LAYOUTS = {  # processes, devices of each, mesh: data, fsdp, context, tensor
    "1 process": (1, 8, "1,8,1,1"),
    "2 processes": (2, 4, "1,8,1,1"),
    "4 processes": (4, 2, "1,8,1,1"),
    "mesh 8 data": (1, 8, "8,1,1,1"),
    "mesh 2x4 fsdp x context": (1, 8, "1,2,4,1"),
    "mesh 2x2x2 fsdp x context x tensor": (1, 8, "1,2,2,2"),
}
STEPS = 20
TOLERANCE = 1e-5  # of a loss, relative


def layouts(work: Path) -> dict:
    """The same 20 steps on other processes and meshes, and moved between them half-way."""
    runs: dict[str, Path] = {}
    progress = harness.Progress("layouts", len(LAYOUTS) + 2, every=0)
    for name, (processes, devices, mesh) in LAYOUTS.items():
        runs[name] = harness.fresh(work / name.replace(" ", "-"))
        code, said = harness.start(
            runs[name], processes, devices, "--steps", STEPS, "--mesh", mesh,
            "--checkpoint-every", 100,
        )  # fmt: skip
        assert code == 0, f"{name}: {said[-2000:]}"
        progress(len(runs))
    for name, (processes, devices) in {"2 to 1": (1, 8), "2 to 4": (4, 2)}.items():
        runs[name] = harness.fresh(work / name.replace(" ", "-"))
        options = ("--steps", STEPS, "--mesh", "1,8,1,1", "--checkpoint-every", 100)
        script = harness.Script(functools.partial(_ask_to_stop, runs[name], STEPS // 2))
        code, said = harness.start(runs[name], 2, 4, *options, "--pace", 0.2)
        script.finish()
        assert code == 42, f"{name}: {said[-2000:]}"
        code, said = harness.start(runs[name], processes, devices, *options)
        assert code == 0, f"{name}: {said[-2000:]}"
        progress(len(runs))
    first = runs["1 process"]
    reference = harness.told(first)
    ids = harness.global_ids(first, STEPS)
    same_ids, same_draws, worst = {}, {}, {}
    for name, run in runs.items():
        told = harness.told(run)
        same_ids[name] = harness.global_ids(run, STEPS) == ids
        same_draws[name] = told["draws"] == reference["draws"] and len(told["draws"]) == STEPS
        worst[name] = max(
            abs(x - y) / abs(y)
            for step in range(1, STEPS + 1)
            for x in told["loss"][step]
            for y in reference["loss"][step]
        )
    return {
        "layouts": list(runs),
        "same_ids": all(same_ids.values()),
        "same_draws": all(same_draws.values()),
        "differing": [n for n in runs if not (same_ids[n] and same_draws[n])],
        "worst_loss_difference": worst,
        "holds": all(same_ids.values()) and all(same_draws.values())
        and max(worst.values()) <= TOLERANCE,
    }  # fmt: skip


def _ask_to_stop(run: Path, step: int, is_over) -> None:
    """SIGTERM to the supervisor, which is this process, once the run has reached a step."""
    while len(harness.lines(run / "states.jsonl")) < step:
        if is_over.wait(0.05):
            return
    os.kill(os.getpid(), signal.SIGTERM)
