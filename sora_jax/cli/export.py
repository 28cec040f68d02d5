"""`sora-jax export`: a run's model as a directory to hand on, with its figures on its card."""

import argparse
import json
from pathlib import Path
from typing import Any

from sora_jax.cli import args as shared
from sora_jax.errors import UsageError

SUMMARY = "write a run's model as a bundle whose card has its figures"
EXAMPLE = "sora-jax export runs/toyworld -o models/toyworld"

_ABOUT = """Weights are the moving average of training, in {dtype}; settings are in config.json.

| | |
|---|---|
{rows}

`MANIFEST.json` has the size and the SHA-256 of each file. `report.json` of the run has the rest.
"""
CARD = (
    """# {name}

A text-to-video model trained by sora_jax: a video autoencoder and a spacetime transformer with its
text encoder. """
    + _ABOUT
)
VAE_CARD = (
    """# {name}

A video autoencoder trained by sora_jax. """
    + _ABOUT
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_model(parser)
    parser.add_argument(
        "-o", "--out", required=True, metavar="DIR", help="bundle to write; one there is replaced"
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="of the stored weights (float16)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the bundle; a run without a report has only its settings on the card."""
    from sora_jax.export import bundle as bundles

    out = Path(args.out)
    if not out.absolute().parent.is_dir():
        raise UsageError(f"cannot write {out}: folder {out.parent} does not exist; create it")
    rows = _rows(_report(args.model))
    if bundles.is_vae_alone(args.model):
        vae = bundles.open_vae(args.model)
        bundles.write_vae(
            out,
            vae=vae.vae,
            latents=vae.latents,
            clips=vae.clips,
            params=vae.params,
            card=VAE_CARD.format(name=out.name, dtype=args.dtype, rows=rows),
            dtype=args.dtype,
        )
    else:
        bundle = bundles.open_model(args.model)
        bundles.write_bundle(
            out,
            model=bundle.model,
            params=bundle.params,
            tokenizer=bundle.tokenizer,
            sampling=bundle.sampling,
            card=CARD.format(name=out.name, dtype=args.dtype, rows=rows),
            dtype=args.dtype,
        )
    size = sum(path.stat().st_size for path in out.iterdir())
    return {
        "output": str(out),
        "bytes": size,
        "model": args.model,
        "digest": bundles.open_vae(out).digest,
    }


def _report(model: str) -> dict[str, Any]:
    path = Path(model) / "report.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _rows(report: dict[str, Any]) -> str:
    """The lines of the card's table."""
    rows = {"command": report.get("command"), "commit": report.get("commit")}
    if "minutes" in report:
        minutes = report["minutes"]
        rest = f" + {minutes['dit']:.1f}" if "dit" in minutes else ""
        rows["minutes of training"] = f"{minutes['vae']:.1f} (VAE){rest}"
    if "vae" in report:
        rows["VAE"] = f"{report['vae']['psnr']:.1f} dB on held-out clips"
    for split, title in (("seen", "seen compositions"), ("heldout", "held-out compositions")):
        if "toyworld" in report:
            row = report["toyworld"][split]
            low, high = row["interval"]
            rows[f"all attributes right, {title}"] = (
                f"{row['all']:.3f} ({low:.3f} to {high:.3f}, n = {row['n']})"
            )
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value is not None)
