"""`sora-jax post`: colour, steadiness and sharpness of any video, and what it is written as."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "finish any video: colour, shake, flicker, noise, sharpness; write it for a purpose"
EXAMPLE = "sora-jax post clip.mp4 --stabilise --white-balance --profile story -o story.mp4"

STEPS = (
    *("denoise", "deflicker", "stabilise", "white_balance", "exposure", "warmth"),
    *("contrast", "saturation", "lut", "sharpen"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", metavar="VIDEO", help="the video, of any size and length")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="several steps at once: clean, steady, natural, vivid, soft, restore; steps that are "
        "named too take their own values",
    )
    steps = parser.add_argument_group("steps, done in this order")
    steps.add_argument(
        "--denoise", nargs="?", const="auto", metavar="N", help="noise to take out, 0 to 50 (auto)"
    )
    steps.add_argument("--deflicker", action="store_true", help="make jumping brightness steady")
    steps.add_argument(
        "--stabilise",
        nargs="?",
        const=True,
        type=float,
        metavar="N",
        help="smooth the camera's path over N frames (10)",
    )
    steps.add_argument("--white-balance", action="store_true", help="take out a colour cast")
    steps.add_argument(
        "--exposure", metavar="EV", help="stops, -4 to 4, or auto, which lifts a dark clip"
    )
    steps.add_argument(
        "--warmth", type=float, metavar="W", help="-1 (blue) to 1 (orange); 0 changes nothing"
    )
    steps.add_argument("--contrast", type=float, metavar="C", help="0 to 4; 1 changes nothing")
    steps.add_argument("--saturation", type=float, metavar="S", help="0 to 4; 1 changes nothing")
    steps.add_argument("--lut", metavar="FILE.cube", help="colour table, 1-D or 3-D")
    steps.add_argument(
        "--sharpen",
        nargs="?",
        const="auto",
        metavar="PX",
        help="blur to undo, 0.1 to 5 pixels (auto), without halos",
    )
    shared.add_delivery(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Finish in constant memory, telling how far it is."""
    from sora_jax.cli import progress
    from sora_jax.studio import finish

    with progress.counted("finishing", unit="frame") as tell:
        return finish.post(
            args.video,
            args.out,
            preset=args.preset,
            progress=tell,
            **{name: getattr(args, name) for name in STEPS},
            **shared.delivery(args),
        )
