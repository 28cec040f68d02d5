"""`sora-jax remix`: a video made again, as a prompt says."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make a video again as a prompt says"
EXAMPLE = 'sora-jax remix toyworld clip.mp4 -p "a green circle moves left on white" -o out.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument("video", metavar="VIDEO", help="the clip to change")
    parser.add_argument(
        "--strength",
        default="mild",
        metavar="S",
        help="subtle, mild, strong or 0 to 1: how far to go from the clip (mild)",
    )
    parser.add_argument(
        "--mask", metavar="IMAGE", help="a picture: what is dark in it stays exactly as it is"
    )
    shared.add_prompt(parser, required=True)
    shared.add_output(parser)
    shared.add_controls(parser, has_pacing=False)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import edits

    return edits.remix(
        args.model,
        args.video,
        args.prompt,
        args.out,
        strength=args.strength,
        mask=args.mask,
        negative=args.negative,
        **shared.control_wishes(args),
        **shared.sampling_wishes(args),
    )
