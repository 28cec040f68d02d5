"""`sora-jax data verify`: whether shards are still what was written."""

import argparse
import sys
from typing import Any

from sora_jax.errors import RunError

SUMMARY = "hash every file and every record of shards again, and say what is damaged"
EXAMPLE = "sora-jax data verify runs/quickstart/data"

_SHOWN = 20  # lines of damage for people; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", metavar="SHARDS", help="directory with MANIFEST.json")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Give the counts, or raise RunError (exit code 5) with all that is damaged."""
    import dataclasses

    from data_pipelines.verify import verify
    from sora_jax.cli import progress

    with progress.stages("checking", "item") as tell:
        found = verify(args.shards, tell)
    counts = {"shards": args.shards, "files": found.files, "records": found.records}
    if not found.damage:
        notes = [f"{name} is not in the manifest" for name in found.unlisted[:_SHOWN]]
        return counts | {"damaged": 0, "unlisted": list(found.unlisted), "notes": notes}
    for item in found.damage[:_SHOWN]:
        what = f"record {item.split}:{item.record} in {item.file}" if item.record else item.file
        print(f"damaged: {what}: {item.reason}", file=sys.stderr)
    if len(found.damage) > _SHOWN:
        print(f"... and {len(found.damage) - _SHOWN} more; --json lists all", file=sys.stderr)
    bad_records, bad_files = found.damaged_records, found.damaged_files
    first = bad_records[:3] + bad_files[:3]
    raise RunError(
        f"{len(bad_records)} of {found.records} records and {len(bad_files)} of {found.files} files"
        f" in {args.shards} are damaged ({', '.join(first)}); copy the files again or write the"
        " shards again",
        **counts,
        damaged_records=bad_records,
        damaged_files=bad_files,
        damage=[dataclasses.asdict(item) for item in found.damage],
    )
