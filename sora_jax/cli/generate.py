"""`sora-jax generate`: a video from a text."""

import argparse
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.errors import UsageError

SUMMARY = "make a video from a text"
EXAMPLE = 'sora-jax generate toyworld -p "a red circle moves left on a white background" -o out.mp4'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    shared.add_prompt(parser, required=True)
    parser.add_argument("--seconds", type=float, metavar="S", help="length of the video")
    parser.add_argument(
        "-n",
        "--variations",
        type=int,
        default=1,
        metavar="N",
        help="so many videos, of the seeds from --seed on: OUT-1.mp4, OUT-2.mp4 ... (1)",
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="also write OUT.words.png: where each word of the prompt acts",
    )
    shared.add_output(parser)
    shared.add_controls(parser)
    shared.add_sampling(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from sora_jax.studio import facade

    def make(out: str | Path, seed: int) -> dict[str, Any]:
        wishes = shared.sampling_wishes(args) | shared.control_wishes(args) | {"seed": seed}
        return facade.generate(
            args.model,
            args.prompt,
            out,
            attention=args.attention,
            negative=args.negative,
            seconds=args.seconds,
            **wishes,
        )

    if args.variations < 1:
        raise UsageError(f"-n {args.variations} is not a number of videos; use 1 or more")
    if args.variations == 1:
        return make(args.out, args.seed)
    out = Path(args.out)
    made = [
        make(out.with_stem(f"{out.stem}-{i + 1}"), args.seed + i) for i in range(args.variations)
    ]
    return {"outputs": [result["output"] for result in made], "videos": made}
