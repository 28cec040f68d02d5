"""`sora-jax data inspect`: what is in shards."""

import argparse
from typing import Any

from sora_jax.errors import UsageError

SUMMARY = "show counts, shapes, sizes and captions of shards, or a page of their clips"
EXAMPLE = "sora-jax data inspect runs/quickstart/data --html -o clips.html"

_SIZES = 12  # lines of the histogram for people; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", metavar="SHARDS", help="directory with MANIFEST.json")
    parser.add_argument(
        "--html", action="store_true", help="write a page with frames and captions of clips"
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT.html", help="where the page goes (SHARDS.html, beside them)"
    )
    parser.add_argument(
        "--samples", type=int, default=48, metavar="N", help="clips on the page (48)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Figures from the index; records are opened for captions and the page only."""
    from pathlib import Path

    from data_pipelines import gallery, inspection
    from sora_jax import files
    from sora_jax.data import index

    if args.out and not args.html:
        raise UsageError("-o names the page, so it goes with --html; add it")
    if args.samples < 1:
        raise UsageError(f"--samples {args.samples} is not enough for a page; use at least 1")
    figures = inspection.describe(args.shards)
    samples = inspection.draw(args.shards, args.samples if args.html else 8)
    facts: dict[str, Any] = {"shards": args.shards}
    if args.html:
        directory = Path(args.shards).absolute()
        out = files.check_folder(args.out or directory.with_name(f"{directory.name}.html"))
        settings = index.read_index(args.shards).settings
        files.write_text(out, gallery.render(directory.name, figures, samples, settings))
        facts["output"] = str(out)
    captions = inspection.captions_of(samples, 5)
    if args.json:
        return facts | {"splits": figures, "captions": captions}
    lines = {name: _line(split) for name, split in figures.items()}
    sizes = [
        f"{name} {size['width']}x{size['height']} at {size['fps']:g}/s: {size['records']:,} clips"
        " of {} to {} frames, the middle one {}".format(*(size["frames"][i] for i in (0, 2, 1)))
        for name, split in figures.items()
        for size in split["sizes"]
    ]
    shown = {f"size {i + 1}": text for i, text in enumerate(sizes[:_SIZES])}
    if len(sizes) > _SIZES:
        shown["more sizes"] = f"{len(sizes) - _SIZES}; --json lists all"
    texts = {f"caption {i + 1}": text for i, text in enumerate(captions)}
    last = {"output": facts.pop("output")} if args.html else {}
    return facts | lines | shown | texts | last


def _line(split: dict[str, Any]) -> str:
    captions = split["captions"]
    kind = f", {split['latents']:,} as latents" if split["latents"] else ""
    return (
        f"{split['records']:,} clips, {split['seconds']:,.1f} s, {split['bytes'] / 2**20:,.2f} MiB"
        f"{kind}; {captions['count']:,} captions ({captions['timed']:,} timed) of"
        f" {captions['words']:.1f} words"
    )
