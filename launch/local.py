"""Processes of one run on this machine: started together, ended together, started again.

JAX's own multi-controller runtime is the engine; this starts it, and knows how it ends. Each worker
leads a session of its own, so that what it has started ends with it. The first worker that fails
decides how the attempt ended: the others then die of its absence, which says nothing.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

PREEMPTED, WATCHDOG, INTERRUPTED = 42, 75, 130
FINAL = (2, 3, 4, INTERRUPTED)  # a person's mistake or wish: starting again does not help
PEER_DIED = (-signal.SIGABRT, 128 + signal.SIGABRT)  # JAX ends a process whose peer is gone
_POLL, _SETTLE = 0.05, 1.0  # seconds between looks; in which the true first failure shows itself
_TAIL = 30  # lines of the first failing worker's log


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is started, and how often."""

    command: Sequence[str]
    workdir: Path  # of the run: logs and attempts.jsonl lie in it, checkpoints are looked for in it
    processes: int = 1
    max_restarts: int = 3  # in a row without a new checkpoint
    backoff: float = 1.0  # seconds before the first restart; doubles up to a minute
    grace: float = 300.0  # seconds that workers have to save once they were asked to stop


@dataclasses.dataclass(frozen=True)
class Ended:
    """How one attempt went."""

    code: int  # 0, or that of the first worker that failed
    worker: int | None  # which one it was
    asked: bool  # the supervisor was told to stop
    silent: tuple[int, ...] = ()  # workers that lived on, stopped, when their peers gave up


def supervise(job: Job, say: Callable[[str], None], environment: dict[str, str]) -> int:
    """Run the job to its end and give its exit code; `say` gets lines for people."""
    job.workdir.mkdir(parents=True, exist_ok=True)
    failures, newest = 0, newest_checkpoints(job.workdir)
    number = 0
    with _Asked() as asked:
        while True:
            began = time.time()
            ended = _attempt(job, number, environment, asked)
            reached = newest_checkpoints(job.workdir)
            _record(job, number=number, began=began, ended=ended, checkpoints=reached)
            if ended.code:
                say(_last_lines(job, number, ended))
            if ended.code == 0 or ended.asked or ended.code in FINAL:
                return ended.code
            if ended.code != PREEMPTED:
                failures = 1 if reached != newest else failures + 1
            if failures > job.max_restarts:
                say(f"{failures} failures without a new checkpoint; not started again")
                return ended.code
            pause = min(60.0, job.backoff * 2 ** max(0, failures - 1)) if failures else 0.0
            say(f"starting again in {pause:g} s (attempt {number + 2})")
            if asked.within(pause):
                return 128 + asked.signals[0]
            newest, number = reached, number + 1


class _Asked:
    """SIGTERM and Ctrl-C to the supervisor: remembered, and passed on to the workers."""

    def __init__(self):
        self.signals: list[int] = []
        self.workers: list[subprocess.Popen] = []
        self._any = threading.Event()

    def __enter__(self) -> "_Asked":
        self._before = {s: signal.signal(s, self._hear) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def within(self, seconds: float) -> bool:
        """Wait that long, or less if something is asked."""
        return self._any.wait(seconds)

    def _hear(self, number: int, _frame: object) -> None:
        self.signals.append(number)
        self._any.set()
        for worker in self.workers:
            if worker.poll() is None:
                os.kill(worker.pid, number)


def newest_checkpoints(workdir: Path) -> dict[str, int]:
    """The newest step of each checkpoint directory in a run."""
    found: dict[str, int] = {}
    for path in workdir.glob("**/checkpoints/[0-9]*"):
        if path.name.isdigit():
            name = str(path.parent.relative_to(workdir))
            found[name] = max(found.get(name, 0), int(path.name))
    return found


def log_path(job: Job, number: int, worker: int) -> Path:
    """Where a worker's standard output and error go."""
    return job.workdir / "launch" / f"attempt-{number + 1}" / f"process-{worker}.log"


def _attempt(job: Job, number: int, environment: dict[str, str], asked: _Asked) -> Ended:
    """Start all workers, wait until one fails or all are done, and leave none behind."""
    address = f"127.0.0.1:{_free_port()}"
    workers: list[subprocess.Popen] = []
    copiers: list[threading.Thread] = []
    asked.workers = workers
    try:
        for index in range(job.processes):
            place = {
                "SORA_JAX_COORDINATOR": address,
                "SORA_JAX_PROCESSES": str(job.processes),
                "SORA_JAX_PROCESS": str(index),
                "SORA_JAX_SUPERVISOR": str(os.getpid()),
            }
            worker = subprocess.Popen(
                job.command,
                env=environment | place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            workers.append(worker)
            log = log_path(job, number, index)
            log.parent.mkdir(parents=True, exist_ok=True)
            copiers.append(threading.Thread(target=_copy, args=(worker.stdout, log, index == 0)))
            copiers[-1].start()
        return _wait(job, workers, asked.signals)
    finally:
        for worker in workers:
            _end_group(worker)
        for copier in copiers:
            copier.join(timeout=5)


def _wait(job: Job, workers: list[subprocess.Popen], asked: list[int]) -> Ended:
    deadline = None
    while True:
        codes = [worker.poll() for worker in workers]
        failed = [i for i, known in enumerate(codes) if known]
        if failed and not asked:
            # Seen at once: one that was killed has hurt the others, not they it.
            failed.sort(key=lambda i: (codes[i] or 0) > 0)
            time.sleep(_SETTLE)
            codes = [worker.poll() for worker in workers]
            failed += [i for i, known in enumerate(codes) if known and i not in failed]
            first = next((i for i in failed if codes[i] not in PEER_DIED), failed[0])
            silent = tuple(i for i, worker in enumerate(workers) if _is_stopped(worker))
            return Ended(_as_exit_code(codes[first]), first, False, silent)
        if all(code is not None for code in codes):
            code = codes[failed[0]] if failed else 0
            return Ended(_as_exit_code(code), failed[0] if failed else None, bool(asked))
        if asked and deadline is None:
            deadline = time.monotonic() + job.grace
        if deadline is not None and time.monotonic() > deadline:
            return Ended(128 + asked[0], None, True)
        time.sleep(_POLL)


def _as_exit_code(code: int | None) -> int:
    """Shells call death by a signal 128 + its number."""
    assert code is not None
    return 128 - code if code < 0 else code


def _is_stopped(worker: subprocess.Popen) -> bool:
    """Whether it lives but was halted, as by SIGSTOP or a debugger (Linux says so)."""
    try:
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] in ("T", "t")


def _end_group(worker: subprocess.Popen) -> None:
    """The worker and all that it has started, decoders of the data included."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    worker.wait()


def _copy(stream: IO[bytes], log: Path, is_shown: bool) -> None:
    """A worker's output into its log, and to the terminal as well."""
    with log.open("wb", buffering=0) as file:
        while chunk := os.read(stream.fileno(), 1 << 16):
            file.write(chunk)
            if is_shown:
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()


def _last_lines(job: Job, number: int, ended: Ended) -> str:
    if ended.worker is None:
        return f"the workers did not stop within {job.grace:g} s"
    log = log_path(job, number, ended.worker)
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:]
    shown = "\n".join(f"  {ended.worker}| {line}" for line in lines)
    said = f"process {ended.worker} ended first, with code {ended.code} ({log}):\n{shown}"
    for worker in ended.silent:
        said += f"\nprocess {worker} had been stopped (as by SIGSTOP) and said nothing any more"
    return said


def _record(job: Job, *, number: int, began: float, ended: Ended, checkpoints: dict) -> None:
    now = time.time()
    line = {
        "event": "end",
        "attempt": number + 1,
        "began": round(began, 3),
        "time": round(now, 3),
        "seconds": round(now - began, 3),
        "code": ended.code,
        "process": ended.worker,
        "checkpoints": checkpoints,
    }
    with (job.workdir / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
