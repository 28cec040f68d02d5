"""`sora-jax generate`: a video from a text."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video from a text"
EXAMPLE = 'sora-jax generate toyworld -p "a red circle moves left on a white background" -o out.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    shared.add_prompt(parser, required=True)
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the video")
    shared.add_output(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import facade

    return facade.generate(
        args.model,
        args.prompt,
        args.out,
        negative=args.negative,
        seconds=args.seconds,
        **shared.sampling_wishes(args),
    )
