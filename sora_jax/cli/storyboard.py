"""`sora-jax storyboard`: cards on a time line as one video."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make one video of cards with texts, pictures and clips"
EXAMPLE = "sora-jax storyboard toyworld board.yaml --preview -o out.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument(
        "board",
        metavar="BOARD.yaml",
        help="seconds and cards (time, prompt, image, video, transition)",
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="only OUT.png with a frame of each card, in few steps; no video",
    )
    parser.add_argument(
        "--negative", default="", metavar="TEXT", help="what guidance moves away from"
    )
    shared.add_output(parser)
    shared.add_timeline(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import boards

    return boards.storyboard(
        args.model,
        args.board,
        args.out,
        is_preview=args.preview,
        negative=args.negative,
        timeline=args.timeline,
        **shared.sampling_wishes(args),
    )
