"""`sora-jax batch`: many jobs from one file."""

import argparse
from typing import Any

SUMMARY = "make many videos from a file of jobs; goes on after a stop"
EXAMPLE = "sora-jax batch jobs.jsonl --model toyworld -o videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs",
        metavar="JOBS.jsonl",
        help='one JSON object a line, such as {"tool": "generate", "prompt": "a red circle"}',
    )
    parser.add_argument("--model", metavar="MODEL", help="for jobs that name none")
    parser.add_argument(
        "-o", "--out", required=True, metavar="DIR", help="folder of NAME.mp4, .png and .json"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.cli.progress import bar
    from sora_jax.studio import batch

    with bar("jobs", None, "job") as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        return batch.run(args.jobs, args.out, model=args.model, progress=progress)
