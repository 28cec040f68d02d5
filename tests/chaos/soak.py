"""Item 10: a long run under random faults of all kinds, held step by step against a quiet one."""

import collections
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from sora_jax.train import goodput
from tests.chaos import harness

# Faults come every 30 seconds, and a start takes 15 of them: time for some such stretches is left.
CHECKPOINT_EVERY = 10
FULL_SECONDS = 8.0  # of a full disk: at least one save is due
PACE = 0.15  # seconds of a batch: stands for the work of a larger model
STEPS = 100_000  # more than there is time for
POISON = ("--poison", "31:31:1", "--poison-every", 97)  # a batch without numbers, now and then
OPTIONS = ("--steps", STEPS, "--checkpoint-every", CHECKPOINT_EVERY, *POISON)
LIMIT = 8.0
DISK_MB = 24


def soak(work: Path, seconds: float, seed: int) -> dict:
    """Run for `seconds` and hurt it every 15 to 45; then run as many steps again, undisturbed."""
    run = harness.fresh(work / "hurt")
    has_disk = _mount(run / "checkpoints")
    faults: list[dict] = []
    kinds = _Kinds(run, random.Random(seed), has_disk)
    progress = harness.Progress("soak (seconds)", seconds, every=60)

    def hurt(is_over):
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds and not is_over.is_set():
            wait = kinds.rng.uniform(15, 45)
            if is_over.wait(min(wait, max(0.0, seconds - passed))):
                return
            if time.monotonic() - began < seconds:
                faults.append({"at": round(time.monotonic() - began, 1), "kind": kinds.strike()})
            progress(min(seconds, time.monotonic() - began), f"{len(faults)} faults")
        kinds.make_room()
        lines = len(harness.lines(run / "states.jsonl"))
        while len(harness.lines(run / "states.jsonl")) < lines + 2:  # it is on its way again
            if is_over.wait(0.5):
                return
        os.kill(os.getpid(), signal.SIGTERM)  # to the supervisor: all save and end

    script = harness.Script(hurt)
    code, said = harness.start(run, 2, 2, *OPTIONS, "--pace", PACE, "--limit", LIMIT, "--child")
    script.finish()
    time.sleep(0.5)
    left = harness.marked()
    table = goodput.summarise(run)
    if has_disk:
        _unmount(run / "checkpoints")
    told = harness.told(run)
    reached = max(told["state"])
    quiet = harness.fresh(work / "quiet")
    _quiet(quiet, reached)
    wrong = _wrong(told, harness.told(quiet), reached)
    print(table.table())
    return {
        "seconds": seconds,
        "code": code,
        "soak_faults": len(faults),
        "faults": dict(collections.Counter(fault["kind"] for fault in faults)),
        "faults_survived": len(faults) if code == 42 else 0,
        "steps": reached,
        "attempts": table.attempts,
        "lost_steps_done_again": table.lost_steps,
        "soak_lost_steps_wrong": len(wrong),
        "wrong": wrong[:5],
        "goodput": round(table.shares["step"] + table.shares["data"], 4),
        "shares": {name: round(share, 4) for name, share in table.shares.items()},
        "orphans": len(left),
        "last_words": said[-1500:] if code != 42 else "",
    }


def _wrong(hurt: dict, quiet: dict, steps: int) -> list:
    """Steps that are missing, or of which the hurt run ever said anything that is not so."""
    found = []
    for step in range(1, steps + 1):
        for kind in ("state", "draws", "loss"):
            if kind != "state" and step not in quiet[kind]:
                continue  # a batch without numbers has no loss
            if hurt[kind].get(step) != quiet[kind].get(step):
                found.append((step, kind))
                break
    found += [(b, "ids") for b in range(steps) if hurt["ids"].get(b) != quiet["ids"].get(b)]
    return sorted(set(found))


def _quiet(quiet: Path, steps: int) -> None:
    """The same run, left alone, until it has done as many steps."""

    def stop(is_over):
        progress = harness.Progress("the undisturbed run", steps)
        path = quiet / "states.jsonl"
        while (done := len(harness.lines(path)) if path.exists() else 0) < steps:
            progress(done)
            if is_over.wait(2.0):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    script = harness.Script(stop)
    code, said = harness.start(quiet, 2, 2, *OPTIONS)
    script.finish()
    assert code == 42, said[-2000:]


class _Kinds:
    """The faults, each done to the run as it stands. They come in random order, all as often."""

    def __init__(self, run: Path, rng: random.Random, has_disk: bool):
        self.rng, self._run = rng, run
        self._kinds = ["kill one", "kill both", "stop", "term", "exception", "spin", "damage"]
        self._kinds += ["kill decoder"]
        self._kinds += ["full disk"] if has_disk else []
        self._deck: list[str] = []

    def strike(self) -> str:
        """Do the next one; gives its name."""
        if not self._deck:
            self._deck = self.rng.sample(self._kinds, len(self._kinds))
        kind = self._deck.pop()
        pids = harness.pids(self._run, 2)
        one = self.rng.choice(sorted(pids))
        if kind == "kill one":
            harness.kill(pids[one])
        elif kind == "kill both":
            for pid in pids.values():
                harness.kill(pid)
        elif kind == "stop":
            harness.kill(pids[one], signal.SIGSTOP)
        elif kind == "term":
            harness.kill(pids[one], signal.SIGTERM)
        elif kind == "damage":
            self._damage()
            harness.kill(pids[one])
        elif kind in ("exception", "spin"):
            (self._run / f"order-{one}").write_text(kind)
        elif kind == "kill decoder":
            self._kill_child(pids[one])
        elif kind == "full disk":
            self._fill()
        return kind

    def _damage(self) -> None:
        """A bit of the newest checkpoint, or a file of it, just before a kill."""
        place = self._run / "checkpoints"
        steps = sorted(int(p.name) for p in place.glob("[0-9]*") if p.name.isdigit())
        if len(steps) < 2:  # nothing to go back to
            return
        files = [p for p in (place / str(steps[-1]) / "state").rglob("*") if p.is_file()]
        weights = [p.stat().st_size + 1 for p in files]
        victim = self.rng.choices(files, weights)[0]
        try:
            raw = bytearray(victim.read_bytes())
            if raw and self.rng.random() < 0.7:
                bit = self.rng.randrange(8 * len(raw))
                raw[bit // 8] ^= 1 << (bit % 8)
                victim.write_bytes(raw)
            else:
                victim.write_bytes(b"")
        except FileNotFoundError:  # it has just been removed as too old
            pass

    def _kill_child(self, pid: int) -> None:
        """A child of a worker (a decoder) dies, which the run may not even notice."""
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
        for child in found.stdout.split():
            harness.kill(int(child))

    def _fill(self) -> None:
        """The disk of the checkpoints is full for a while, over at least one save."""
        ballast = self._run / "checkpoints" / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 16)) == 1 << 16:
                    pass
        except OSError:
            pass
        time.sleep(FULL_SECONDS)
        self.make_room()

    def make_room(self) -> None:
        (self._run / "checkpoints" / "ballast").unlink(missing_ok=True)


def _mount(place: Path) -> bool:
    """A small disk of its own for the checkpoints; False where we may not."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)]
    if os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0:
        return True
    print("no right to mount a small disk: full disks are left out")
    return False


def _unmount(place: Path) -> None:
    kept = place.with_name("kept")
    shutil.copytree(place, kept, dirs_exist_ok=True)
    subprocess.run(["umount", "-l", str(place)], check=False)
    shutil.rmtree(place, ignore_errors=True)
    kept.rename(place)
