"""`sora-jax encode`: the latents of a video."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "write the autoencoder's latents of a video, of any length, as an npz"
EXAMPLE = "sora-jax encode toyworld clip.mp4 -o latents.npz --pad"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model_and(parser, "VIDEO", "the video to encode, at its own size and rate")
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="LATENTS.npz",
        help="file to write; numpy.load reads it, and decode",
    )
    parser.add_argument(
        "--pad",
        action="store_true",
        help="hold the last frame to a multiple of 4, and repeat the lower and right edge to whole "
        "latents; decode cuts that off again",
    )
    shared.add_tile(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Encode in constant memory, telling how far it is."""
    from sora_jax.cli import progress
    from sora_jax.studio import latents

    model, video = shared.split_model(args)
    with progress.counted("encoding", unit="frame") as tell:
        return latents.encode(model, video, args.out, pad=args.pad, tile=args.tile, progress=tell)
