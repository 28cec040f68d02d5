"""`sora-jax loop`: a video without an end."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video whose end leads to its beginning"
EXAMPLE = "sora-jax loop toyworld clip.mp4 --seconds 4 -o loop.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument(
        "video", metavar="VIDEO", nargs="?", help="a clip to close; without it, a prompt (-p)"
    )
    parser.add_argument("--seconds", type=float, required=True, metavar="S", help="one round")
    shared.add_prompt(parser, required=False)
    shared.add_output(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import edits

    return edits.loop(
        args.model,
        args.video,
        args.out,
        seconds=args.seconds,
        prompt=args.prompt,
        negative=args.negative,
        **shared.sampling_wishes(args),
    )
