"""`sora-jax train`: run any experiment file."""

import argparse
from typing import Any

from sora_jax.cli import quickstart

SUMMARY = "train, judge and report any experiment file"
EXAMPLE = (
    "sora-jax train --config experiments/quickstart.py --workdir runs/q --config.dit.loop.seed=1"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARG]",
        help="an experiment: a Python file, or its name in experiments/; the file is run",
    )
    quickstart.add_options(parser, "runs/train")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the named config with the overrides of the command line."""
    return quickstart.run_experiment(args.config, args.overrides, args)
