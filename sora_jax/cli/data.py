"""`sora-jax data VERB`: everything that makes, shows and checks training data.

Each verb is a module like those of `main`: SUMMARY, EXAMPLE, `add_arguments` and `run`.
"""

import argparse
from types import ModuleType
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.cli import (
    data_encode,
    data_fetch,
    data_inspect,
    data_physics,
    data_run,
    data_toyworld,
    data_verify,
)

SUMMARY = "make, show and check training data"
EXAMPLE = "sora-jax data inspect runs/quickstart/data"

VERBS: dict[str, ModuleType] = {
    "fetch-samples": data_fetch,
    "run": data_run,
    "toyworld": data_toyworld,
    "physics": data_physics,
    "encode": data_encode,
    "inspect": data_inspect,
    "verify": data_verify,
}

# What leads from nothing to a trained model on real videos, as `sora-jax data` says it.
PATH = {
    "1 get videos": "sora-jax data fetch-samples runs/samples    (or a folder of your own)",
    "2 make shards": "sora-jax data run runs/samples -o runs/film --set clip.short_side=128",
    "3 see why": "open runs/film/report.html: yields, thresholds, what was kept and what not",
    "4 look": "sora-jax data inspect runs/film/shards --html",
    "5 check": "sora-jax data verify runs/film/shards",
    "6 train": "sora-jax train --config FILE --workdir DIR      (docs/data.md)",
    "made videos": "sora-jax data toyworld | physics, instead of 1 to 3",
    "help": "sora-jax data VERB --help; docs/data_pipeline.md",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="data_verb", metavar="VERB")
    for name, verb in VERBS.items():
        child = verbs.add_parser(
            name,
            help=verb.SUMMARY,
            description=f"{verb.SUMMARY[0].upper()}{verb.SUMMARY[1:]}.",
            epilog=f"example:\n  {verb.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_arguments(child)
        shared.add_json(child, is_inner=True)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the verb that was named, or say which come one after the other."""
    if args.data_verb is None:
        return dict(PATH)
    return VERBS[args.data_verb].run(args)
