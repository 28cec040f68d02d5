"""`sora-jax extend`: a longer video, forward or backward in time."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video longer, at its end or its beginning"
EXAMPLE = "sora-jax extend toyworld clip.mp4 --direction backward --seconds 1 -o longer.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument("video", metavar="VIDEO", help="the clip to extend")
    parser.add_argument(
        "--direction",
        choices=("forward", "backward", "both"),
        default="forward",
        help="where to add: after the clip, before it, or as much at each end (forward)",
    )
    parser.add_argument("--seconds", type=float, required=True, metavar="S", help="how much to add")
    shared.add_prompt(parser, required=False)
    shared.add_output(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import facade

    return facade.extend(
        args.model,
        args.video,
        args.prompt,
        args.out,
        direction=args.direction,
        seconds=args.seconds,
        negative=args.negative,
        **shared.sampling_wishes(args),
    )
