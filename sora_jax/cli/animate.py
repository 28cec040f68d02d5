"""`sora-jax animate`: a video that begins with an image."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video that begins with an image"
EXAMPLE = 'sora-jax animate toyworld first.png -p "a red circle moves left" -o out.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument("image", metavar="IMAGE", help="PNG or JPEG; its middle is cut to the size")
    shared.add_prompt(parser, required=True)
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the video")
    shared.add_output(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import facade

    return facade.animate(
        args.model,
        args.image,
        args.prompt,
        args.out,
        negative=args.negative,
        seconds=args.seconds,
        **shared.sampling_wishes(args),
    )
