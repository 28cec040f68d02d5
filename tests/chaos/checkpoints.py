"""Item 3: what can happen to a checkpoint on disk, and what comes back."""

import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.sharding import mesh as meshes
from sora_jax.train.checkpoint import Checkpoints, Position
from tests.chaos import harness

KILLS, FLIPS = 50, 100
MEGABYTES = 48  # of the state that is being written when its process dies

# Saves steps 1 and 2, then 3, and says so at once: what kills it comes while 3 is being written.
SAVER = """
import sys
from pathlib import Path
from tests.chaos import checkpoints
from sora_jax.train.checkpoint import Checkpoints, Position
store = Checkpoints(Path(sys.argv[1]))
for step in (1, 2):
    store.save(step, checkpoints.state(step), Position(step))
    store.wait()
for line in sys.stdin:
    step = int(line)
    store.save(step, checkpoints.state(step), Position(step))
    print("saving", flush=True)
"""


def state(step: int, megabytes: int = MEGABYTES) -> dict:
    """Arrays that are other ones at each step, and that no compression makes smaller."""
    weights = jax.random.uniform(jax.random.key(step), (megabytes * 256, 1024))  # exact everywhere
    return {"w": weights, "half": jnp.full(64, step, jnp.bfloat16), "step": jnp.int32(step)}


def suite(work: Path, seed: int) -> dict:
    """Kills while saving, damaged files, flipped bits: the restored state is right or none is."""
    rng = random.Random(seed)
    found = {"kills": _kills(work, rng), "files": _files(work), "flips": _flips(work, rng)}
    faults = found["kills"]["faults"] + found["files"]["faults"] + found["flips"]["faults"]
    survived = sum(part["survived"] for part in found.values())
    return found | {
        "checkpoint_faults": faults,
        "checkpoint_faults_survived": survived,
        "bit_flips": found["flips"]["bit_flips"],
        "bit_flips_caught": found["flips"]["bit_flips_caught"],
    }


def _kills(work: Path, rng: random.Random) -> dict:
    """SIGKILL 0 to 300 ms after an asynchronous save was begun."""
    progress = harness.Progress("kills while saving", KILLS)
    survived, newest = 0, []
    for i in range(KILLS):
        place = harness.fresh(work / "kill")
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(place / "c")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=harness.environment(1),
            text=True,
        )
        saver.stdin.write("3\n")
        saver.stdin.flush()
        assert saver.stdout.readline() == "saving\n"
        time.sleep(rng.uniform(0, 0.3))
        saver.send_signal(signal.SIGKILL)
        saver.wait()
        outcome = _restore(place / "c", MEGABYTES)
        newest.append(outcome.step)
        survived += outcome.is_right and outcome.step in (2, 3)
        progress(i + 1)
    return {"faults": KILLS, "survived": survived, "had_finished": newest.count(3)}


def _files(work: Path) -> dict:
    """Each file of the newest checkpoint cut to half, emptied, removed."""
    template = _template(work)
    files = [p.relative_to(template) for p in sorted((template / "2").rglob("*")) if p.is_file()]
    cases = [(name, damage) for name in files for damage in ("cut", "emptied", "removed")]
    progress = harness.Progress("damaged files", len(cases))
    survived, set_aside = 0, 0
    for i, (name, damage) in enumerate(cases):
        place = _copy(template, work / "file")
        raw = (place / name).read_bytes()
        if damage == "removed":
            (place / name).unlink()
        else:
            (place / name).write_bytes(raw[: len(raw) // 2] if damage == "cut" else b"")
        outcome = _restore(place, 1)
        survived += outcome.is_right and (outcome.step == 2 or outcome.is_named)
        set_aside += outcome.step == 1
        progress(i + 1)
    return {"faults": len(cases), "survived": survived, "files": len(files), "back": set_aside}


def _flips(work: Path, rng: random.Random) -> dict:
    """Single bits of the newest checkpoint's data and record.

    A flip that nothing reads (in padding, or in a name that is not used) leaves the state right
    with nothing to catch: it is counted apart, and another one is drawn.
    """
    template = _template(work)
    data = [p for p in (template / "2").rglob("*") if p.is_file() and p.stat().st_size]
    files = [p.relative_to(template) for p in data if {"state", "record"} & set(p.parts)]
    weights = [(template / name).stat().st_size for name in files]
    progress = harness.Progress("flipped bits", FLIPS)
    flips, caught, harmless, wrong = 0, 0, 0, 0
    while flips < FLIPS:
        place = _copy(template, work / "flip")
        name = rng.choices(files, weights)[0]
        raw = bytearray((place / name).read_bytes())
        bit = rng.randrange(8 * len(raw))
        raw[bit // 8] ^= 1 << (bit % 8)
        (place / name).write_bytes(raw)
        outcome = _restore(place, 1)
        if outcome.is_right and outcome.step == 2:
            harmless += 1
            continue
        flips += 1
        caught += outcome.is_right and outcome.step == 1 and outcome.is_named
        wrong += not outcome.is_right
        progress(flips)
    return {
        "faults": flips + harmless,
        "survived": caught + harmless,
        "bit_flips": flips,
        "bit_flips_caught": caught,
        "harmless": harmless,
        "wrong": wrong,
    }


class _Outcome:
    """What a restore gave: which step, whether with its state, whether the cause was said."""

    def __init__(self, step: int, is_right: bool, is_named: bool):
        self.step, self.is_right, self.is_named = step, is_right, is_named


def _restore(place: Path, megabytes: int) -> _Outcome:
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    store = Checkpoints(place)
    try:
        abstract = jax.eval_shape(lambda: state(1, megabytes))
        mesh = meshes.make_mesh(meshes.MeshConfig(), jax.devices()[:1])
        whole = jax.tree.map(lambda _: meshes.replicated(mesh), abstract)
        found, position = store.restore(abstract, whole)
        step = position.next_batch
        right = jax.tree.map(np.array_equal, found, state(step, megabytes))
        store.save(9, state(9, megabytes), Position(9))  # the run goes on
        store.wait()
        is_right = all(jax.tree.leaves(right)) and store.latest == 9
    except Exception as error:  # counted as not survived
        print(f"{place}: {type(error).__name__}: {error}", file=sys.stderr)
        step, is_right = 0, False
    finally:
        store.close()
        logging.getLogger().removeHandler(heard)
    return _Outcome(step, is_right, any("set aside" in text for text in heard.texts))


class _Heard(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def _template(work: Path) -> Path:
    """A directory with checkpoints of steps 1 and 2, made once."""
    place = work / "template"
    if not place.exists():
        store = Checkpoints(place)
        for step in (1, 2):
            store.save(step, state(step, 1), Position(step))
            store.wait()
        store.close()
    return place


def _copy(template: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    return place
