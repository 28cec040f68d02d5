"""The supervisor, with workers that are a few lines of Python: how runs end and start again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from launch import local

pytestmark = pytest.mark.alone
PROLOGUE = """
import os, pathlib, signal, subprocess, sys, time
me, many = int(os.environ["SORA_JAX_PROCESS"]), int(os.environ["SORA_JAX_PROCESSES"])
here = pathlib.Path(sys.argv[1])
tries = here / f"tries-{me}"
attempt = len(tries.read_text()) if tries.exists() else 0
tries.write_text("x" * (attempt + 1))
def checkpoint(step):
    (here / "checkpoints" / str(step)).mkdir(parents=True)
"""


def start(tmp_path, body, **settings):
    """Supervise workers that run `body`; gives the code, what was said and the attempts."""
    job = local.Job(
        command=[sys.executable, "-c", PROLOGUE + body, str(tmp_path)],
        workdir=tmp_path,
        **({"backoff": 0.01} | settings),
    )
    said: list[str] = []
    code = local.supervise(job, said.append, dict(os.environ))
    lines = (tmp_path / "attempts.jsonl").read_text().splitlines()
    return code, "\n".join(said), [json.loads(line) for line in lines]


def test_all_workers_of_a_run_know_each_other(tmp_path):
    code, said, attempts = start(
        tmp_path, "print(me, many, os.environ['SORA_JAX_COORDINATOR'])", processes=3
    )
    assert (code, said) == (0, "")
    logs = [local.log_path(local.Job(command=[], workdir=tmp_path), 0, i) for i in range(3)]
    words = [log.read_text().split() for log in logs]
    assert [word[:2] for word in words] == [["0", "3"], ["1", "3"], ["2", "3"]]
    assert len({word[2] for word in words}) == 1
    assert words[0][2].startswith("127.0.0.1:")
    assert attempts[0]["code"] == 0


def test_a_crash_is_started_again(tmp_path):
    code, said, attempts = start(tmp_path, "sys.exit(5 if attempt < 2 else 0)")
    assert code == 0
    assert [attempt["code"] for attempt in attempts] == [5, 5, 0]
    assert "starting again" in said


def test_without_a_new_checkpoint_it_is_given_up(tmp_path):
    code, said, attempts = start(tmp_path, "sys.exit(7)", max_restarts=2)
    assert code == 7
    assert len(attempts) == 3
    assert "3 failures without a new checkpoint" in said


def test_with_new_checkpoints_it_may_crash_for_ever(tmp_path):
    body = "checkpoint(attempt + 1); sys.exit(7 if attempt < 6 else 0)"
    code, _, attempts = start(tmp_path, body, max_restarts=1)
    assert code == 0
    assert len(attempts) == 7
    assert attempts[-1]["checkpoints"] == {"checkpoints": 7}


@pytest.mark.parametrize("final", [2, 4])
def test_a_mistake_is_not_repeated(tmp_path, final):
    code, _, attempts = start(tmp_path, f"sys.exit({final})")
    assert code == final
    assert len(attempts) == 1


def test_preemption_is_started_again_and_does_not_count(tmp_path):
    code, _, attempts = start(tmp_path, "sys.exit(42 if attempt < 5 else 0)", max_restarts=0)
    assert code == 0
    assert [attempt["code"] for attempt in attempts] == [42] * 5 + [0]


def test_the_first_cause_is_told_not_its_echo(tmp_path):
    """Worker 2 fails; the others die of it, one of them is even seen dead before."""
    body = """
if me == 2:
    time.sleep(0.3)
    print("the true cause")
    sys.exit(9)
time.sleep(0.2 if me == 0 else 0.5)
os.abort()
"""
    code, said, attempts = start(tmp_path, body, processes=3, max_restarts=0)
    assert code == 9
    assert attempts[0]["process"] == 2
    assert "  2| the true cause" in said


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_nothing_is_left_behind(tmp_path):
    """A worker that hangs, and a child of the worker that fails, are gone with it."""
    body = """
child = subprocess.Popen(["sleep", "600"])
(here / f"pids-{me}").write_text(f"{os.getpid()} {child.pid}")
while not (here / "pids-0").exists() or not (here / "pids-1").exists():
    time.sleep(0.02)
time.sleep(0.1)
sys.exit(5) if me else time.sleep(600)
"""
    began = time.monotonic()
    code, _, _ = start(tmp_path, body, processes=2, max_restarts=0)
    assert code == 5
    assert time.monotonic() - began < 30
    pids = [int(pid) for i in (0, 1) for pid in (tmp_path / f"pids-{i}").read_text().split()]
    time.sleep(0.2)
    assert not [pid for pid in pids if is_alive(pid)]


def test_sigterm_is_passed_on_and_ends_the_job(tmp_path):
    """Workers save and say 42; since it was asked to stop, it does not start them again."""
    body = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
(here / f"ready-{me}").write_text("")
time.sleep(600)
"""

    def ask():
        while not all((tmp_path / f"ready-{i}").exists() for i in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    code, _, attempts = start(tmp_path, body, processes=2)
    assert code == 42
    assert len(attempts) == 1


def test_sigterm_between_two_attempts_ends_the_job(tmp_path):
    """It waits to start again, and there is nobody to pass it on to."""

    def ask():
        while not (tmp_path / "attempts.jsonl").exists():
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    began = time.monotonic()
    code, _, attempts = start(tmp_path, "sys.exit(5)", backoff=60.0)
    assert code == 128 + signal.SIGTERM
    assert len(attempts) == 1
    assert time.monotonic() - began < 50


WORKER = """
import os, pathlib, subprocess, sys, time
from sora_jax.cli import runtime
del os.environ["SORA_JAX_COORDINATOR"]
runtime.connect()
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1], "pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""
SUPERVISOR = """
import os, pathlib, sys
from launch import local
here = pathlib.Path(sys.argv[1])
job = local.Job(command=[sys.executable, "-c", sys.argv[2], str(here)], workdir=here)
local.supervise(job, print, dict(os.environ))
"""


def test_a_killed_supervisor_takes_its_workers_with_it(tmp_path):
    """The worker and what it has started: nobody else would end them."""
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(tmp_path), WORKER])
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        time.sleep(0.05)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    supervisor.kill()
    supervisor.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if is_alive(pid)]


def test_workers_that_do_not_stop_are_ended(tmp_path):
    body = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / "ready-0").write_text("")
time.sleep(600)
"""

    def ask():
        while not (tmp_path / "ready-0").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    code, said, _ = start(tmp_path, body, grace=0.5)
    assert code == 128 + signal.SIGTERM
    assert "did not stop within 0.5 s" in said
