"""`sora-jax decode`: the video of latents."""

import argparse
from typing import Any

from sora_jax.cli import args as shared

SUMMARY = "make the video of latents that `encode` wrote"
EXAMPLE = "sora-jax decode toyworld latents.npz -o out.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model_and(parser, "LATENTS.npz", "the file that `sora-jax encode` wrote")
    shared.add_output(parser)
    shared.add_tile(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Decode in constant memory, telling how far it is."""
    from sora_jax.cli import progress
    from sora_jax.studio import latents

    model, source = shared.split_model(args)
    with progress.counted("decoding", unit="frame") as tell:
        return latents.decode(model, source, args.out, tile=args.tile, progress=tell)
