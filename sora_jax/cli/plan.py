"""`sora-jax plan`: what a run will need and how fast it will be, before any machine is rented."""

import argparse
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.cli import runtime
from sora_jax.errors import LimitError, UsageError

SUMMARY = "say if a config fits a topology, and how fast it would be, without having it"
EXAMPLE = "sora-jax plan --config experiments/plan/14b_720p.py --topology v5p:2x2x1"

WHATS = ("train", "sample", "vae", "encode")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE[:ARG]",
        help="an experiment: a Python file, or its name in experiments/; the file is run",
    )
    parser.add_argument(
        "--topology",
        metavar="KIND:SIDES",
        help="v5p:4x4x4, v5e:4x4, v6e:4x4, h100:8, a100:8, b200:8, cpu:8 (the config's "
        "plan.topology)",
    )
    parser.add_argument(
        "--what",
        choices=WHATS,
        default="train",
        help="the step of the transformer or of the vae, sampling, or encoding (train)",
    )
    parser.add_argument(
        "--dump",
        metavar="DIR",
        help="write the optimized program, the kernels' table and the plan there",
    )
    parser.add_argument(
        "--tokens", type=float, metavar="N", help="also say the chip-hours for so many tokens"
    )
    parser.add_argument(
        "--price", type=float, metavar="P", help="and the cost, at this price of a chip-hour"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="try meshes and remat policies, and rank them"
    )
    parser.add_argument(
        "--suite",
        metavar="DIR",
        help="plan every config of a folder, into runs/plan/report.json and docs/planning.md",
    )
    parser.add_argument(
        "--tune",
        metavar="CHIP",
        help="compile attention kernels of several blocks for v5e, v5p or v6e into the table",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Plan one config, a folder of them, or the kernels' blocks."""
    if args.suite:
        from sora_jax.cli import plan_suite

        return plan_suite.run(Path(args.suite), Path("runs/plan"), Path("docs/planning.md"))
    if args.tune:
        from sora_jax.cli import schedule

        return schedule.tune(args.tune)
    if not args.config:
        raise UsageError("plan needs --config FILE (or --suite DIR, or --tune CHIP)")
    for name in ("tokens", "price"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name} {value:g} must be positive")
    if args.price is not None and args.tokens is None:
        raise UsageError(f"--price {args.price:g} needs --tokens: say how many are trained on")

    from sora_jax import config
    from sora_jax.cli.experiment import ExperimentConfig
    from sora_jax.plan import chips

    if args.topology:
        chips.parse(args.topology)  # an unknown one is found before the config is run
    cfg = config.resolve(ExperimentConfig, config.load(args.config, args.overrides))
    topology = chips.parse(args.topology or cfg.plan.topology)
    _prepare(topology)

    from sora_jax.cli import planner

    if args.sweep:
        return planner.sweep(cfg, topology, args.what) | {"config": args.config}
    compiled = planner.plan(cfg, topology, args.what)
    result = {"config": args.config, "topology": topology.name, "what": args.what}
    result |= compiled.report
    if args.dump:
        result["dump"] = str(_dump(Path(args.dump), compiled, result))
    if not result["fits"]:
        raise LimitError(planner.excess(cfg, topology, args.what, result), **result)
    if args.tokens is not None:
        result |= _bill(result, args.tokens, args.price)
    return result


def describe(result: dict[str, Any]) -> str:
    """A plan for people."""
    from sora_jax.cli import plan_table

    return plan_table.describe(result)


def _prepare(topology) -> None:
    """Settings of the process for this topology, before JAX looks for devices."""
    if topology.chip.platform == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        flags = os.environ.get("XLA_FLAGS", "")
        count = f"--xla_force_host_platform_device_count={topology.size}"
        os.environ["XLA_FLAGS"] = f"{flags} {count}".strip()
    else:
        os.environ.update(runtime.TPU_COMPILER)
    # A program read back from the cache would say nothing of what compiling takes.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

    import jax

    jax.config.update("jax_platforms", "cpu")  # where the config has loaded it already


def _bill(result: dict[str, Any], tokens: float, price: float | None) -> dict[str, Any]:
    rate = result["tokens_per_second_per_chip"]
    if not rate:
        raise UsageError(f"--tokens: {result['topology']} has no estimate of time to count by")
    hours = tokens / rate / 3600
    cost = {} if price is None else {"est_cost": round(hours * price, 2)}
    return {"tokens": tokens, "est_chip_hours": round(hours, 1)} | cost


def _dump(directory: Path, compiled: Any, result: dict[str, Any]) -> Path:
    """What others need to check the estimate."""
    from sora_jax.cli import plan_table

    with files.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "program.hlo.txt").write_text(compiled.text)
        files.write_text(directory / "plan.json", json.dumps(result, indent=2) + "\n")
        versions = {name: _version(name) for name in ("jax", "libtpu")}
        table = {"versions": versions, "kernels": plan_table.kernel_rows(compiled.timed)}
        files.write_text(directory / "kernels.json", json.dumps(table, indent=2) + "\n")
    return directory


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
