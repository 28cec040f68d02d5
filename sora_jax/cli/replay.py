"""`sora-jax replay`: the video of a record once more."""

import argparse
from typing import Any

SUMMARY = "make a video again from the record beside it, frame for frame"
EXAMPLE = "sora-jax replay out.json -o again.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="FILE.json", help="what was written beside the video")
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT.mp4", help="video to write, with a record too"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio import boards, edits, facade, latents, record

    del boards, edits, facade, latents  # that their tools are known
    return record.replay(args.record, args.out)
