"""`sora-jax launch`: start a run as several processes, here or on a cluster."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sora_jax.errors import RunError, UsageError

SUMMARY = "start a run as several processes, here or on a cluster, and again after a failure"
EXAMPLE = (
    "sora-jax launch local --processes 2 -- train --config quickstart --workdir runs/q "
    "--config.vae.loop.steps=500 --config.dit.loop.steps=2000"
)
_TRAINING = ("train", "quickstart", "toyworld")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "where",
        choices=("local", "slurm", "gke", "tpu-vm"),
        help="this machine, a Slurm cluster, TPU slices on GKE, or TPU VMs",
    )
    local = parser.add_argument_group("local")
    local.add_argument("--processes", type=int, default=1, metavar="N", help="JAX processes (1)")
    local.add_argument(
        "--max-restarts",
        type=int,
        default=3,
        metavar="N",
        help="failures in a row without a new checkpoint before it is given up (3); of gke: in all",
    )
    local.add_argument(
        "--heartbeat",
        type=int,
        default=100,
        metavar="S",
        help="seconds after which a process that says nothing is given up (100)",
    )
    parser.add_argument(
        "--grace",
        type=int,
        default=300,
        metavar="S",
        help="seconds to save in, after SIGTERM or Ctrl-C (300)",
    )
    cluster = parser.add_argument_group("clusters")
    cluster.add_argument("--name", default="sora-jax", help="of the job (sora-jax)")
    cluster.add_argument("--accelerator", default="v5e", metavar="KIND", help="v5e v5p v6e gpu cpu")
    cluster.add_argument("--topology", default="4x4", metavar="AxB", help="of a TPU slice (4x4)")
    cluster.add_argument("--slices", type=int, default=1, metavar="N", help="TPU slices (1)")
    cluster.add_argument("--nodes", type=int, default=1, metavar="N", help="slurm: nodes (1)")
    cluster.add_argument("--hours", type=float, default=24, metavar="H", help="slurm: limit (24)")
    cluster.add_argument("--partition", default="", metavar="P", help="slurm")
    cluster.add_argument("--image", default="", metavar="IMAGE", help="gke: container image")
    cluster.add_argument("--zone", default="", metavar="ZONE", help="tpu-vm")
    cluster.add_argument("--repository", default="", metavar="URL", help="tpu-vm: git address")
    cluster.add_argument(
        "--runtime", default="v2-alpha-tpuv5-lite", metavar="VERSION", help="tpu-vm: software"
    )
    cluster.add_argument("-o", "--out", metavar="FILE", help="file to write (NAME.sbatch, ...)")
    cluster.add_argument(
        "--dry-run", action="store_true", help="write and check the file, submit nothing"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Start the command after `--` where the person said."""
    from sora_jax.cli import main

    if not args.command or args.command[0] not in _TRAINING:
        given = " ".join(args.command) or "nothing"
        raise UsageError(f"after -- comes one of {', '.join(_TRAINING)}, and there is {given!r}")
    inner = main.parse(args.command)  # a mistake is found before anything is started
    if args.where == "local":
        return _local(args, Path(inner.workdir))
    return _cluster(args)


def _local(args: argparse.Namespace, workdir: Path) -> dict[str, Any]:
    from launch import local
    from sora_jax.cli import runtime

    _at_least(1, processes=args.processes)
    job = local.Job(
        command=[sys.executable, "-m", "sora_jax.cli.main", *args.command],
        workdir=workdir,
        processes=args.processes,
        max_restarts=args.max_restarts,
        grace=args.grace,
    )
    environment = dict(os.environ) | {runtime.HEARTBEAT: str(args.heartbeat)}
    code = local.supervise(job, lambda line: print(f"launch: {line}", file=sys.stderr), environment)
    if code:
        raise _Ended(f"{args.command[0]} ended with code {code}; see {job.workdir}/launch", code)
    return {"workdir": str(job.workdir), "attempts": str(job.workdir / "attempts.jsonl")}


def _cluster(args: argparse.Namespace) -> dict[str, Any]:
    """Write the file of a cluster, check it, and hand it over unless it is a dry run."""
    from launch.flags import ACCELERATORS, TPUS
    from sora_jax import files

    kinds = tuple(ACCELERATORS) if args.where == "slurm" else TPUS
    if args.accelerator not in kinds:
        raise UsageError(f"--accelerator {args.accelerator} is not one of {', '.join(kinds)}")
    _at_least(1, slices=args.slices, nodes=args.nodes)
    render, suffix, submit = {
        "slurm": (_slurm, "sbatch", ["sbatch"]),
        "gke": (_gke, "yaml", ["kubectl", "apply", "-f"]),
        "tpu-vm": (_tpu_vm, "sh", ["bash"]),
    }[args.where]
    path = Path(args.out or f"{args.name}.{suffix}")
    files.write_text(path, _text(render, args))
    if suffix != "yaml":
        checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        if checked.returncode:
            raise RunError(f"{path} is not a script that bash reads: {checked.stderr}")
    if suffix == "sbatch" and shutil.which("sbatch"):
        checked = subprocess.run(
            ["sbatch", "--test-only", str(path)], capture_output=True, text=True
        )
        if checked.returncode:
            raise RunError(f"sbatch would not take {path}: {checked.stderr}")
    if args.dry_run:
        return {"file": str(path), "submit": " ".join([*submit, str(path)])}
    if shutil.which(submit[0]) is None:
        raise UsageError(f"{submit[0]} is not on this machine; {path} is written: submit it there")
    done = subprocess.run([*submit, str(path)])
    if done.returncode:
        raise RunError(f"{' '.join(submit)} {path} ended with code {done.returncode}")
    return {"file": str(path)}


def _text(render: Callable[[argparse.Namespace], str], args: argparse.Namespace) -> str:
    try:
        return render(args)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _slurm(args: argparse.Namespace) -> str:
    from launch import slurm

    job = slurm.SlurmJob(
        name=args.name,
        nodes=args.nodes,
        accelerator=args.accelerator,
        hours=args.hours,
        partition=args.partition,
        grace=args.grace,
    )
    return slurm.script(job, args.command)


def _gke(args: argparse.Namespace) -> str:
    import yaml

    from launch import gke, jobset_schema

    if not args.image:
        raise UsageError("gke needs --image, a container that has sora-jax in it")
    job = gke.GKEJob(
        name=args.name,
        accelerator=args.accelerator,
        topology=args.topology,
        slices=args.slices,
        image=args.image,
        max_restarts=args.max_restarts,
        grace=args.grace,
    )
    text = yaml.safe_dump(gke.job_set(job, args.command), sort_keys=False)
    wrong = list(jobset_schema.offences(yaml.safe_load(text)))
    if wrong:
        raise RunError(f"the JobSet is not one that its schema allows: {'; '.join(wrong[:3])}")
    return text


def _tpu_vm(args: argparse.Namespace) -> str:
    from launch import tpu_vm

    if not args.zone or not args.repository:
        raise UsageError("tpu-vm needs --zone and --repository, the git address to clone there")
    job = tpu_vm.TPUVMJob(
        name=args.name,
        accelerator=args.accelerator,
        topology=args.topology,
        slices=args.slices,
        zone=args.zone,
        repository=args.repository,
        runtime=args.runtime,
    )
    return tpu_vm.script(job, args.command)


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UsageError(f"--{name} {value} must be at least {least}")


class _Ended(RunError):
    """Passes the worker's exit code on."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.exit_code = code
