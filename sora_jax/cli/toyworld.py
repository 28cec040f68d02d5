"""`sora-jax toyworld`: the long proof, on the full toy world."""

import argparse
from typing import Any

from sora_jax.cli import quickstart

SUMMARY = "the long proof: train and judge on the full toy world (90 minutes of training)"
EXAMPLE = "sora-jax toyworld --workdir runs/toyworld"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    quickstart.add_options(parser, "runs/toyworld")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the toy world's config; the same command goes on after a stop."""
    return quickstart.run_experiment("toyworld", {}, args)
