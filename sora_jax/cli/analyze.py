"""`sora-jax analyze`: what a prompt speaks of, what a picture or a video is like."""

import argparse
from typing import Any

SUMMARY = "show what is in a prompt, a picture or a video"
EXAMPLE = 'sora-jax analyze "a red circle moves left on a white background at night"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="PROMPT|IMAGE|VIDEO",
        help="a text; or the name of a picture (palette, texture, depth) or of a video (shots, "
        "camera, motion, palette)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    from sora_jax.studio.analyze import analyze

    return analyze(args.what)


def describe(result: dict[str, Any]) -> str:
    """Lines for people: a name, and what was found."""
    lines = []
    for name, value in (result.get("elements") or result).items():
        if name == "palette":
            value = ", ".join(f"{c['name']} {c['hex']} {100 * c['share']:.0f}%" for c in value)
        elif name == "shots":
            value = "; ".join(
                f"{s['start']:g} to {s['end']:g} s, camera {s['camera']}, "
                f"motion {100 * s['motion']:.1f}% of the picture a second"
                for s in value
            )
        elif isinstance(value, dict):
            value = ", ".join(f"{key} {found}" for key, found in value.items())
        elif name == "size":
            value = f"{value[0]}x{value[1]}"
        elif isinstance(value, list):
            value = ", ".join(value)
        if value not in ("", None):
            lines.append(f"{name:<12} {value}")
    return "\n".join(lines)
