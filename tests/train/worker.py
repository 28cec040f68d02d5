"""A training run of seconds for tests of several processes, with a fault on demand.

    python -m tests.train.worker WORKDIR [--steps N] [--fault KIND:BATCH:PROCESS]

Writes `ids-PROCESS.jsonl` (sample ids of each batch that this process was given) and, at the end,
`digests.json` of the whole state. A fault happens once: its marker lies in WORKDIR.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path


class Faulty:
    """Batches that are logged, and before one of which something goes wrong."""

    def __init__(self, rows, workdir: Path, fault: str, process: int):
        self._rows, self._workdir, self._process = rows, workdir, process
        self._kind, batch, target = (fault or "none:-1:-1").split(":")
        self._batch, self._target = int(batch), int(target)

    @property
    def next_batch(self):
        return self._rows.next_batch

    def seek(self, step):
        self._rows.seek(step)

    def __next__(self):
        marker = self._workdir / "fault-happened"
        index = self._rows.next_batch
        if (index, self._process) == (self._batch, self._target) and not marker.exists():
            marker.write_text(self._kind)
            go_wrong(self._kind)
        batch = next(self._rows)
        with (self._workdir / f"ids-{self._process}.jsonl").open("a") as file:
            ids = [int(i) for i in batch["sample_id"].ravel()]
            file.write(json.dumps({"batch": index, "ids": ids}) + "\n")
        return batch


def go_wrong(kind: str) -> None:
    """Do to this process what `kind` says."""
    if kind == "exception":
        raise RuntimeError("a planted exception")
    if kind == "hang":
        time.sleep(3600)
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}[kind]
    os.kill(os.getpid(), number)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--fault", default="")
    parser.add_argument("--limit", type=float, default=0.0, help="seconds a batch may take")
    args = parser.parse_args()

    from sora_jax.cli import runtime

    runtime.prepare()
    runtime.connect()
    from sora_jax.errors import Preempted
    from sora_jax.sharding import hosts
    from sora_jax.sharding import mesh as meshes
    from sora_jax.train import dit_run, loop, runner, writers
    from sora_jax.train.digest import digests
    from sora_jax.train.watchdog import WatchdogConfig
    from tests.train.helpers import TOKENIZER, tiny_clips, tiny_training

    cfg = tiny_training(
        steps=args.steps, checkpoint_every=2, watchdog=WatchdogConfig(data=args.limit)
    )
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    process, _ = hosts.place()
    record = writers.JsonLines(args.workdir / "metrics.jsonl")
    try:
        result = runner.run(
            dit_run._plan(cfg),
            Faulty(rows, args.workdir, args.fault, process),
            workdir=args.workdir,
            mesh=meshes.make_mesh(meshes.MeshConfig()),
            writers=lambda progress: [record] if hosts.is_first() else [],
            hooks=loop.Hooks(),
        )
    except Preempted as ending:
        sys.stderr.write(f"{ending}\n")
        return Preempted.exit_code
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 5
    found = digests(result.state)
    if hosts.is_first():
        (args.workdir / "digests.json").write_text(json.dumps(found))
    hosts.leave()
    return 0


if __name__ == "__main__":
    from sora_jax.cli import runtime as process_runtime

    code = main()
    process_runtime.leave(code)
    sys.exit(code)
