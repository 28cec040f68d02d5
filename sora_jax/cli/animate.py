"""`sora-jax animate`: a video in which images are seen at their times."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video that begins with an image, or goes through several"
EXAMPLE = 'sora-jax animate toyworld first.png -p "a red circle moves left" -o out.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument(
        "image", metavar="IMAGE", nargs="+", help="PNG or JPEG; its middle is cut to the size"
    )
    parser.add_argument(
        "--at",
        action="append",
        metavar="WHEN",
        help="first, last or seconds, for each image in order; one is the first frame unless told "
        "otherwise, two are the first and the last",
    )
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
        at=args.at,
        negative=args.negative,
        seconds=args.seconds,
        **shared.sampling_wishes(args),
    )
