"""`sora-jax recut`: parts of a video in a new order."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "join parts of a video, with what lies between them generated"
EXAMPLE = "sora-jax recut toyworld clip.mp4 --keep 0:0.5 --keep 1.5:2 --fill 1 -o out.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument("video", metavar="VIDEO", help="the clip to cut")
    parser.add_argument(
        "--keep",
        type=shared.parse_interval,
        action="append",
        required=True,
        metavar="A:B",
        help="seconds to keep; once for each part, in the order wanted",
    )
    parser.add_argument(
        "--fill", type=float, default=0.0, metavar="S", help="seconds generated between parts (0)"
    )
    shared.add_prompt(parser, required=False)
    shared.add_output(parser)
    shared.add_timeline(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import edits

    return edits.recut(
        args.model,
        args.video,
        args.out,
        keep=args.keep,
        fill=args.fill,
        prompt=args.prompt,
        negative=args.negative,
        timeline=args.timeline,
        **shared.sampling_wishes(args),
    )
