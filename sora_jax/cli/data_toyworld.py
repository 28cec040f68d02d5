"""`sora-jax data toyworld`: the toy world as shards."""

import argparse
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.errors import UsageError

SUMMARY = "render captioned clips of the toy world as shards"
EXAMPLE = "sora-jax data toyworld -o data/toyworld --level full --train 2048 --test 64"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--level", choices=("small", "full"), default="small", help="32x32 or 64x64 (small)"
    )
    parser.add_argument("--train", type=int, default=1024, metavar="N", help="clips (1024)")
    parser.add_argument(
        "--test", type=int, default=64, metavar="N", help="clips in each of seen and heldout (64)"
    )
    add_making(parser)


def add_making(parser: argparse.ArgumentParser) -> None:
    """Options of all verbs that render clips."""
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that render (0: this one)"
    )
    shared.add_shards_output(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Render the splits train, seen and heldout."""
    import functools

    from data_pipelines.toyworld import records

    counts = {"train": args.train, "seen": args.test, "heldout": args.test}
    settings = {"kind": "toyworld", "level": args.level}
    make = {split: functools.partial(records.make_record, args.level, split) for split in counts}
    return write_rendered(args, counts, make, settings)


def write_rendered(
    args: argparse.Namespace, counts: dict[str, int], make: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    """Write `make[split](0)`, `make[split](1)` ... as shards; splits of no clip are left out."""
    import json
    from pathlib import Path

    from data_pipelines import shards
    from sora_jax.cli import progress
    from sora_jax.data import index

    if counts["train"] < 1 or min(counts.values()) < 0 or args.workers < 0:
        raise UsageError(
            f"there are {counts} clips and {args.workers} workers; at least 1 clip of train is "
            "needed, and no number may be negative"
        )
    counts = {split: count for split, count in counts.items() if count}
    fingerprint = json.dumps([settings, counts], sort_keys=True)
    splits = {
        split: shards.rendered(make[split], count, workers=args.workers)
        for split, count in counts.items()
    }
    if shards.is_complete(args.out, fingerprint):
        notes = ["the same shards were there already; nothing was rendered"]
    else:
        notes = []
        Path(args.out).absolute().parent.mkdir(parents=True, exist_ok=True)
        with progress.bar("rendering", sum(counts.values())) as bar:
            shards.write(
                args.out,
                splits,
                fingerprint=fingerprint,
                settings=settings,
                progress=lambda *_: bar.update(),
            )
    found = index.read_manifest(args.out)
    return {
        "splits": {split: figures["records"] for split, figures in found["splits"].items()},
        "bytes": sum(file["size"] for file in found["files"].values()),
        "output": str(args.out),
        "notes": notes,
    }
