"""What the parts of `make chaos` share: starting runs, reading what they left, finding orphans."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from launch import local

ROOT = Path(__file__).parents[2]
MARK = "SORA_JAX_CHAOS"  # in the environment of every process that a part starts
HEARTBEAT = 5  # seconds after which JAX gives a silent process up


def start(workdir: Path, processes: int, devices: int, *options, **settings) -> tuple[int, str]:
    """The tiny run under the supervisor; gives its exit code and what was said."""
    workdir.mkdir(parents=True, exist_ok=True)
    job = local.Job(
        command=[sys.executable, "-m", "tests.train.worker", str(workdir), *map(str, options)],
        workdir=workdir,
        processes=processes,
        **({"backoff": 0.05, "max_restarts": 12, "grace": 60.0} | settings),
    )
    said: list[str] = []
    return local.supervise(job, said.append, environment(devices)), "\n".join(said)


def environment(devices: int, *, quick_compile: bool = True) -> dict[str, str]:
    """Of a worker with so many virtual devices; its programs are compiled as fast as may be."""
    flags = [f"--xla_force_host_platform_device_count={devices}"]
    flags += ["--xla_backend_optimization_level=0"] * quick_compile
    return dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(flags),
        "SORA_JAX_HEARTBEAT_SECONDS": str(HEARTBEAT),
        MARK: mark(),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def mark() -> str:
    """Of the processes of this chaos, and of no other's."""
    return f"chaos-{os.getpid()}"


def marked() -> list[int]:
    """Processes that live, were started by a part of this chaos, and are not this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"{MARK}={mark()}".encode() in (path / "environ").read_bytes()
            state = (path / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if is_ours and state != "Z" and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def fresh(path: Path) -> Path:
    """An empty directory at `path`; small disks that a killed proof has left there are let go."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if place.startswith(f"{path}/"):
            subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def lines(path: Path) -> list[dict]:
    """Whole lines of a file of JSON lines; a kill may have cut the last one."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


def told(workdir: Path) -> dict[str, dict[int, set]]:
    """Everything that a run has said of each step, by kind: if it said two things, both are there.

    ids: of each batch, all processes together. state: the digest after each step. draws: digests of
    noise, sigma and known tokens. loss: as the update gave it.
    """
    found: dict[str, dict[int, set]] = {"ids": {}, "state": {}, "draws": {}, "loss": {}}
    slices: dict[int, dict[int, set]] = {}
    logs = sorted(workdir.glob("ids-*.jsonl"))
    for number, path in enumerate(logs):
        for line in lines(path):
            slices.setdefault(line["batch"], {}).setdefault(number, set()).add(tuple(line["ids"]))
    for batch, parts in slices.items():
        found["ids"][batch] = {tuple(sorted(map(tuple, part))) for part in parts.values()}
    for line in lines(workdir / "states.jsonl"):
        found["state"].setdefault(line["step"], set()).add(line["sha256"])
    for line in lines(workdir / "metrics.jsonl"):
        if line.get("loss", 0) is not None and "noise_digest" in line:
            draws = tuple(line[f"{name}_digest"] for name in ("noise", "sigma", "known"))
            found["draws"].setdefault(line["step"], set()).add(draws)
            found["loss"].setdefault(line["step"], set()).add(line["loss"])
    return found


def global_ids(workdir: Path, steps: int) -> list[list[int]]:
    """Sample ids of each batch in their order, the processes' slices put together.

    Of a run that was interrupted, the last reading of a batch counts; a process that takes no part
    any more has said nothing of later ones.
    """
    by_batch: dict[int, dict[int, list[int]]] = {}
    for number in range(8):
        for line in lines(workdir / f"ids-{number}.jsonl"):
            by_batch.setdefault(line["batch"], {})[number] = line["ids"]
    return [sum((part for _, part in sorted(by_batch[b].items())), []) for b in range(steps)]


def pids(workdir: Path, processes: int) -> dict[int, int]:
    """Process id of each worker of the present attempt that has said it."""
    found = {}
    for index in range(processes):
        path = workdir / f"pid-{index}"
        if path.exists() and path.read_text().isdigit():
            found[index] = int(path.read_text())
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Whether there was such a process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Script(threading.Thread):
    """Something that is done to a run while the supervisor holds the main thread."""

    def __init__(self, do):
        super().__init__(daemon=True)
        self._do, self.error = do, None
        self.is_over = threading.Event()  # the run has ended
        self.start()

    def run(self):
        try:
            self._do(self.is_over)
        except BaseException as error:  # shown by whoever joins
            self.error = error

    def finish(self):
        """Wait for it, and raise what it raised."""
        self.is_over.set()
        self.join(timeout=30)
        if self.error:
            raise self.error


class Progress:
    """Lines on standard error: what is done, of how much, and the time that is left."""

    def __init__(self, title: str, total: int, every: float = 10.0):
        self._title, self._total, self._every = title, total, every
        self._began, self._said = time.monotonic(), 0.0

    def __call__(self, done: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._said < self._every and done < self._total:
            return
        self._said = now
        left = (now - self._began) / max(done, 1e-9) * (self._total - done)
        text = f"{self._title}: {done:g} of {self._total:g}, {left / 60:.1f} min left {note}"
        print(text.rstrip(), file=sys.stderr, flush=True)
