"""`sora-jax upscale`: a video made larger by a trained network."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "enlarge any video with a trained upscaler"
EXAMPLE = "sora-jax upscale runs/upscaler clip.mp4 --to 1080p -o large.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="UPSCALER",
        help="a run directory or bundle of an upscaler; `make upscaler` trains runs/upscaler",
    )
    parser.add_argument("video", metavar="VIDEO", help="the video to enlarge")
    parser.add_argument(
        "--to",
        default="1080p",
        metavar="SIZE",
        help="shorter side: 720p, 1080p, 2160p or another even number (1080p)",
    )
    shared.add_delivery(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Enlarge in constant memory, telling how far it is."""
    from sora_jax.cli import progress
    from sora_jax.studio import finish

    with progress.counted("enlarging", unit="frame") as tell:
        return finish.upscale(
            args.model, args.video, args.out, to=args.to, progress=tell, **shared.delivery(args)
        )
