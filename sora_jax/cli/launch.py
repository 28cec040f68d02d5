"""`sora-jax launch`: start a command as several processes, and again after a failure."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from sora_jax.errors import RunError, UsageError

SUMMARY = "start a run as several processes, and start it again after a failure"
EXAMPLE = (
    "sora-jax launch local --processes 2 -- train --config quickstart --workdir runs/q "
    "--config.vae.loop.steps=500 --config.dit.loop.steps=2000"
)
_TRAINING = ("train", "quickstart", "toyworld")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", choices=("local",), help="local: processes on this machine")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="JAX processes, one run (1)"
    )
    parser.add_argument(
        "--max-restarts",
        type=int,
        default=3,
        metavar="N",
        help="failures in a row without a new checkpoint before it is given up (3)",
    )
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=100,
        metavar="S",
        help="seconds after which a process that says nothing is given up (100)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds to save in, after SIGTERM or Ctrl-C (300)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Supervise the command after `--` until it is done."""
    from launch import local
    from sora_jax.cli import main, runtime

    if args.processes < 1:
        raise UsageError(f"--processes {args.processes} must be at least 1")
    if not args.command or args.command[0] not in _TRAINING:
        given = " ".join(args.command) or "nothing"
        raise UsageError(f"after -- comes one of {', '.join(_TRAINING)}, and there is {given!r}")
    inner = main.parse(args.command)  # a mistake is found before anything is started
    job = local.Job(
        command=[sys.executable, "-m", "sora_jax.cli.main", *args.command],
        workdir=Path(inner.workdir),
        processes=args.processes,
        max_restarts=args.max_restarts,
        grace=args.grace,
    )
    environment = dict(os.environ) | {runtime.HEARTBEAT: str(args.heartbeat)}
    code = local.supervise(job, lambda line: print(f"launch: {line}", file=sys.stderr), environment)
    if code:
        raise _Ended(f"{args.command[0]} ended with code {code}; see {job.workdir}/launch", code)
    return {"workdir": str(job.workdir), "attempts": str(job.workdir / "attempts.jsonl")}


class _Ended(RunError):
    """Passes the worker's exit code on."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.exit_code = code
