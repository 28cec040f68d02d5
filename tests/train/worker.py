"""A training run of seconds for tests of several processes, with faults on demand.

    python -m tests.train.worker WORKDIR [--steps N] [--fault KIND:BATCH:PROCESS] ...

Writes, in WORKDIR: `pid-PROCESS`; `ids-PROCESS.jsonl`, the sample ids of each batch that this
process was given; `states.jsonl`, the digest of the whole state after each step; `metrics.jsonl`
with the loss and the digests of noise and sigma as the update drew them; at the end,
`digests.json` of every leaf. A fault happens once: its marker lies in WORKDIR.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LEARNED = ("params", "ema", "opt_state")  # what a bad update must not reach
FAULTS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}


class Spinning:
    """An array whose reader, once told so, never comes back: a data thread in an endless loop."""

    def __init__(self, array):
        self._array, self.is_on = array, False
        self.shape = array.shape

    def __len__(self):
        return len(self._array)

    def __getitem__(self, index):
        while self.is_on:
            pass
        return self._array[index]


class Faulty:
    """Batches that are logged, and before one of which something goes wrong."""

    def __init__(self, rows, args, process: int, spinning: Spinning):
        self._rows, self._args, self._process, self._spinning = rows, args, process, spinning
        self._log = args.workdir / f"ids-{process}.jsonl"
        self._kind, batch, target = args.fault.split(":")
        self._batch, self._target = int(batch), int(target)

    @property
    def next_batch(self):
        return self._rows.next_batch

    @property
    def reading_since(self):
        return self._rows.reading_since

    def seek(self, step):
        if self._args.tamper != "data":  # else: an iterator that is not restored
            self._rows.seek(step)

    def __next__(self):
        index = self._rows.next_batch
        marker = self._args.workdir / "fault-happened"
        if (index, self._process) == (self._batch, self._target) and not marker.exists():
            marker.write_text(self._kind)
            self._go_wrong(self._kind)
        order = self._args.workdir / f"order-{self._process}"  # a fault from outside
        if order.exists():
            kind = order.read_text()
            order.unlink()
            self._go_wrong(kind)
        time.sleep(self._args.pace)
        batch = next(self._rows)
        with self._log.open("a") as file:
            ids = [int(i) for i in batch["sample_id"].ravel()]
            file.write(json.dumps({"batch": index, "ids": ids}) + "\n")
        return self._poison(index, batch)

    def _go_wrong(self, kind):
        if kind == "exception":
            raise RuntimeError("a planted exception")
        if kind == "hang":
            time.sleep(3600)
        if kind == "spin":
            self._spinning.is_on = True
        if kind in FAULTS:
            os.kill(os.getpid(), FAULTS[kind])

    def _poison(self, index, batch):
        """No numbers in this process's rows of the chosen batches, each time they are read."""
        import numpy as np

        first, last, target = map(int, self._args.poison.split(":"))
        every = self._args.poison_every
        is_bad = first <= (index % every if every else index) <= last
        if not is_bad or self._process != target:
            return batch
        return batch | {"tokens": np.full_like(batch["tokens"], np.nan)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--checkpoint-every", type=int, default=2)
    parser.add_argument("--fault", default="none:-1:-1", help="KIND:BATCH:PROCESS")
    parser.add_argument(
        "--limit",
        type=float,
        default=0.0,
        help="seconds for steps; two thirds for data, ten times for a restore",
    )
    parser.add_argument("--pace", type=float, default=0.0, help="seconds that a batch takes")
    parser.add_argument("--poison", default="-1:-2:0", help="FIRST:LAST:PROCESS: batches of NaN")
    parser.add_argument("--poison-every", type=int, default=0, help="of every so many batches")
    parser.add_argument("--mesh", default="1,-1,1,1", help="data,fsdp,context,tensor")
    parser.add_argument("--tamper", default="", help="data | key: not as it was after a restart")
    parser.add_argument("--child", action="store_true", help="have a child process, as decoders do")
    return parser.parse_args()


def plan_of(args):
    """The tiny plan; its update also gives digests of the noise and sigma that it drew."""
    import jax

    from sora_jax.train import dit_run, objectives
    from sora_jax.train.digest import array_digest
    from sora_jax.train.watchdog import WatchdogConfig
    from tests.train.helpers import tiny_training

    cfg = tiny_training(
        steps=args.steps,
        checkpoint_every=args.checkpoint_every,
        eval_every=1,
        watchdog=WatchdogConfig(data=args.limit * 2 / 3, step=args.limit, restore=10 * args.limit),
    )
    dit = dataclasses.replace(cfg.model.dit, width=32, num_heads=4)  # for any mesh of 8 devices
    text = dataclasses.replace(cfg.model.text, width=32)
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, dit=dit, text=text))
    plan = dit_run.plan(cfg)

    def make_loss(mesh):
        plain = plan.make_loss(mesh)

        def loss_fn(params, batch, key):
            loss, metrics = plain(params, batch, key)
            draws = jax.vmap(lambda row: objectives._draw(row, key, cfg.diffusion))(batch)
            names = ("noise", "sigma", "known")
            found = {f"{name}_digest": array_digest(getattr(draws, name)) for name in names}
            return loss, metrics | found

        return loss_fn

    return cfg, dataclasses.replace(plan, make_loss=make_loss)


def main() -> int:
    args = parse()
    from sora_jax.cli import runtime

    runtime.prepare()
    runtime.connect()
    from sora_jax.errors import Preempted
    from sora_jax.sharding import hosts
    from sora_jax.sharding import mesh as meshes
    from sora_jax.train import dit_run, loop, runner, writers
    from sora_jax.train.checkpoint import Checkpoints
    from sora_jax.train.digest import digests
    from tests.train.helpers import TOKENIZER, tiny_clips

    process, _ = hosts.place()
    (args.workdir / f"pid-{process}").write_text(str(os.getpid()))
    if args.child:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    cfg, plan = plan_of(args)
    clips = tiny_clips()
    spinning = Spinning(clips.latents)
    rows = dit_run.make_rows(cfg, dataclasses.replace(clips, latents=spinning), TOKENIZER, seed=0)
    states = (args.workdir / "states.jsonl").open("a") if hosts.is_first() else None

    def log_state(state):
        found = digests(state)
        if states:
            learned = {k: v for k, v in found.items() if k.split(".")[0] in LEARNED}
            line = {"step": int(state.step), "sha256": sha256(found), "learned": sha256(learned)}
            states.write(json.dumps(line) + "\n")
            states.flush()
        return {}

    if args.tamper == "key":
        tamper_with_key(Checkpoints)
    record = writers.JsonLines(args.workdir / "metrics.jsonl")
    axes = dict(zip(meshes.AXES, map(int, args.mesh.split(",")), strict=True))
    try:
        result = runner.run(
            plan,
            Faulty(rows, args, process, spinning),
            workdir=args.workdir,
            mesh=meshes.make_mesh(meshes.MeshConfig(**axes)),
            writers=lambda progress: [record] if hosts.is_first() else [],
            hooks=loop.Hooks(evaluate=log_state),
        )
    except Preempted as ending:
        sys.stderr.write(f"{ending}\n")
        return Preempted.exit_code
    except Exception as error:
        runtime.let_others_speak_first(error)
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 5
    found = digests(result.state)
    if hosts.is_first():
        (args.workdir / "digests.json").write_text(json.dumps(found))
    with contextlib.suppress(Exception):
        hosts.leave()
    return 0


def sha256(found: dict) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def tamper_with_key(checkpoints) -> None:
    """A run that goes on with another key than the one it was begun with."""
    restore = checkpoints.restore

    def tampered(self, *args):
        state, position = restore(self, *args)
        return state.replace(key=state.key + 1), position

    checkpoints.restore = tampered


if __name__ == "__main__":
    from sora_jax.cli import runtime as process_runtime

    code = main()
    process_runtime.leave(code)
    sys.exit(code)
