"""`sora-jax blend`: from one video to another."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "go from one video to another"
EXAMPLE = "sora-jax blend toyworld a.mp4 b.mp4 --seconds 1 --curve ease -o out.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument("first", metavar="A", help="the clip to go from")
    parser.add_argument("second", metavar="B", help="the clip to go to")
    parser.add_argument(
        "--mode",
        choices=("transition", "mix"),
        default="transition",
        help="new frames between A and B, or one scene out of both (transition)",
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the transition")
    parser.add_argument(
        "--curve",
        default="linear",
        metavar="C",
        help='share of B over time: linear, ease, or points "0:0,0.5:0.8,1:1" (linear)',
    )
    shared.add_prompt(parser, required=False)
    shared.add_output(parser)
    shared.add_timeline(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import edits

    return edits.blend(
        args.model,
        args.first,
        args.second,
        args.out,
        seconds=args.seconds,
        mode=args.mode,
        curve=args.curve,
        prompt=args.prompt,
        negative=args.negative,
        timeline=args.timeline,
        **shared.sampling_wishes(args),
    )
