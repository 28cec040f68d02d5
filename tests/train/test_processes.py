"""Several processes are one run; killed anywhere and started again, it is the same run.

Real processes on this machine, each with two virtual devices.
"""

import json
import os
import shutil
import sys
import time

import numpy as np
import pytest

from launch import local

pytestmark = pytest.mark.alone
STEPS = 8
TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def train(workdir, processes, devices, *options, **settings):
    """The tiny run under the supervisor; gives its exit code and what was said."""
    workdir.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.train.worker", str(workdir), "--steps", str(STEPS)]
    job = local.Job(
        command=command + list(options),
        workdir=workdir,
        processes=processes,
        **({"backoff": 0.1, "max_restarts": 2} | settings),
    )
    environment = dict(os.environ) | {
        "PYTHONPATH": TESTS,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
        "--xla_backend_optimization_level=0",  # compiles in half the time
        "SORA_JAX_HEARTBEAT_SECONDS": "10",
    }
    said = []
    return local.supervise(job, said.append, environment), "\n".join(said)


def digests(workdir):
    return json.loads((workdir / "digests.json").read_text())


def losses(workdir):
    """Of each step; a resumed run repeats some, and the last line of a step counts."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    by_step = {line["step"]: line["loss"] for line in lines if "loss" in line}
    return [by_step[step] for step in range(1, STEPS + 1)]


def global_ids(workdir, processes):
    """Sample ids of each batch, the processes' slices put together in order."""
    slices = []
    for i in range(processes):
        lines = (workdir / f"ids-{i}.jsonl").read_text().splitlines()
        slices.append({line["batch"]: line["ids"] for line in map(json.loads, lines)})
    return [sum((part[batch] for part in slices), []) for batch in range(STEPS)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes that nothing happens to."""
    workdir = tmp_path_factory.mktemp("two")
    assert train(workdir, 2, 2)[0] == 0
    return workdir


@pytest.mark.slow
def test_two_processes_see_what_one_sees(two, tmp_path):
    code, _ = train(tmp_path, 1, 4)
    assert code == 0
    assert global_ids(two, 2) == global_ids(tmp_path, 1)
    np.testing.assert_allclose(losses(two), losses(tmp_path), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "process"),
    [
        ("kill", 1),
        pytest.param("exception", 0, marks=pytest.mark.slow),
        pytest.param("term", 0, marks=pytest.mark.slow),
        pytest.param("term", 1, marks=pytest.mark.slow),
    ],
)
def test_interrupted_anywhere_it_is_the_same_run(two, tmp_path, kind, process):
    """To the bit: parameters, EMA, moments, counts."""
    code, said = train(tmp_path, 2, 2, "--fault", f"{kind}:5:{process}")
    assert code == 0
    assert (tmp_path / "fault-happened").exists()
    assert "starting again" in said
    assert digests(tmp_path) == digests(two)
    assert global_ids(tmp_path, 2) == global_ids(two, 2)
    events = [json.loads(x) for x in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    attempts = [event for event in events if event["event"] == "end"]
    assert attempts[0]["code"] == {"kill": 137, "exception": 5, "term": 42}[kind]
    if kind == "term":  # saved when it was asked, not at the last multiple of 2
        assert max(attempts[0]["checkpoints"].values()) >= 6


def test_what_one_process_alone_can_not_read_is_set_aside_by_both(two, tmp_path):
    """The other has read its part well and must not wait for it."""
    run = tmp_path / "run"
    shutil.copytree(two, run)
    damaged = run / "checkpoints" / str(STEPS) / "state" / "ocdbt.process_1"
    for path in damaged.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert train(run, 2, 2, max_restarts=0)[0] == 0
    assert (run / "checkpoints" / f"{STEPS}.damaged").exists()
    assert digests(run) == digests(two)


@pytest.mark.slow
def test_another_run_has_other_digests(two, tmp_path):
    """What the test above compares does tell runs apart: here one batch is never seen."""
    assert train(tmp_path, 2, 2, "--steps", str(STEPS - 1))[0] == 0
    assert digests(tmp_path) != digests(two)


def states(workdir):
    """Digest of what was learned, after each step."""
    lines = (workdir / "states.jsonl").read_text().splitlines()
    return {line["step"]: line["learned"] for line in map(json.loads, lines)}


@pytest.mark.slow
def test_a_batch_without_numbers_in_one_process_reaches_no_state(two, tmp_path):
    """Parameters, EMA and optimizer after step 4 are those after step 3, on both processes."""
    assert train(tmp_path, 2, 2, "--poison", "3:3:1")[0] == 0
    found = states(tmp_path)
    assert found[3] == found[4] == states(two)[3]
    assert found[4] != found[5]


@pytest.mark.slow
def test_several_in_a_row_stop_the_run_and_name_the_samples(tmp_path):
    """Batches 3 to 5 of 8 rows are samples 24 to 47."""
    code, said = train(tmp_path, 2, 2, "--poison", "3:5:1", max_restarts=0)
    assert code == 5
    assert "samples 24 to 47" in said


@pytest.mark.slow
def test_a_hang_ends_in_time_and_the_run_goes_on(two, tmp_path):
    """Its peer waits for it in the update; the hung process's own watchdog speaks first."""
    began = time.monotonic()
    code, said = train(tmp_path, 2, 2, "--fault", "hang:5:1", "--limit", "15")
    assert code == 0
    assert "loop.watchdog.data" in said
    assert digests(tmp_path) == digests(two)
    assert time.monotonic() - began < 240
