"""`sora-jax data physics`: captioned scenes of rigid bodies as shards."""

import argparse
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.cli import data_toyworld

SUMMARY = "simulate and render captioned physics scenes (drop, roll, collide) as shards"
EXAMPLE = "sora-jax data physics -o data/physics --train 512 --size 128x128 --frames 32 --fps 16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=int, default=256, metavar="N", help="clips (256)")
    parser.add_argument(
        "--heldout", type=int, default=32, metavar="N", help="clips of held-out compositions (32)"
    )
    parser.add_argument(
        "--size", type=shared.parse_size, default=(64, 64), metavar="WxH", help="pixels (64x64)"
    )
    parser.add_argument("--frames", type=int, default=16, metavar="T", help="of a clip (16)")
    parser.add_argument("--fps", type=float, default=8.0, metavar="F", help="frames a second (8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other clips (0)")
    data_toyworld.add_making(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Render the splits train and heldout; needs MuJoCo (extra `data`) and OpenGL."""
    import functools

    from data_pipelines.physics import records

    form = records.PhysicsFormat(
        size=args.size, num_frames=args.frames, fps=args.fps, seed=args.seed
    )
    counts = {"train": args.train, "heldout": args.heldout}
    settings = {"kind": "physics", **records.describe(form)}
    make = {split: functools.partial(records.make_record, form, split) for split in counts}
    return data_toyworld.write_rendered(args, counts, make, settings)
