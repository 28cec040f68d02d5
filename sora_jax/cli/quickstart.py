"""`sora-jax quickstart`: from nothing to a trained model and a report that proves what it can."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from sora_jax.errors import UsageError

SUMMARY = "render data, train a VAE and a transformer, sample, judge, report"
EXAMPLE = "sora-jax quickstart --minutes 11"

CONFIG = "quickstart"
WORKDIR = "runs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, WORKDIR)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="train on your own videos: a folder of NAME.mp4, each with its caption in NAME.txt, "
        "or shards",
    )


def add_options(parser: argparse.ArgumentParser, workdir: str) -> None:
    """Options of the verbs that run a whole experiment."""
    parser.add_argument(
        "--workdir",
        default=workdir,
        metavar="DIR",
        help=f"run directory; the same one goes on after a stop ({workdir})",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="of transformer training, the VAE gets its share on top; of VAE training where it is "
        "trained alone (the config's)",
    )
    parser.add_argument(
        "--wandb",
        choices=("offline", "online", "disabled"),
        default="offline",
        help="where Weights & Biases writes (offline)",
    )
    parser.add_argument(
        "--logger",
        choices=("wandb", "none"),
        default="wandb",
        help="who gets figures and videos beside metrics.jsonl; none: nobody (wandb)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the quickstart's config, on the toy world or on a folder of videos."""
    if args.data is None:
        return run_experiment(CONFIG, {}, args)
    if not Path(args.data).is_dir():
        raise UsageError(
            f"--data {args.data} is not a folder; name one with NAME.mp4 + NAME.txt, or shards"
        )
    workdir = Path(args.workdir)
    if args.workdir == WORKDIR:
        args.workdir = str(workdir.with_name("videos"))
    return run_experiment("videos", {"data.source": args.data}, args)


def run_experiment(
    config_name: str, overrides: dict[str, str], args: argparse.Namespace
) -> dict[str, Any]:
    """Load a config, train all of it in `args.workdir`, judge it and write the report."""
    from experiments import base
    from sora_jax import config
    from sora_jax.cli import autoencoder, pipeline, prove, upscaler
    from sora_jax.cli.experiment import ExperimentConfig
    from sora_jax.sharding import hosts
    from sora_jax.train.loop import Stopped

    values = config.load(config_name, overrides)
    if args.minutes is not None:
        if args.minutes <= 0:
            raise UsageError(
                f"--minutes {args.minutes:g} must be positive; leave it out for the config's"
            )
        base.scale_minutes(values, args.minutes)
    cfg = config.resolve(ExperimentConfig, values)
    wandb_mode: Any = "disabled" if args.logger == "none" else args.wandb
    run = pipeline.open_run(cfg, Path(args.workdir), wandb_mode)
    alone: Any = {"vae": autoencoder, "upscaler": upscaler}
    stages: Any = (alone[cfg.until],) * 2 if cfg.until in alone else (pipeline, prove)
    try:
        trained = stages[0].train(run)
    except Stopped as stop:
        raise KeyboardInterrupt(str(stop)) from None
    if not hosts.is_first():
        index, count = hosts.place()
        return {"notes": [f"process {index} of {count} is done; process 0 judges and reports"]}
    report = stages[1].prove(run, trained, command=_command(config_name, args))
    facts = {
        "report": str(run.workdir / "report.html"),
        "model": str(run.workdir / "bundle"),
        "minutes": json.loads(json.dumps(report["minutes"])),
    }
    if cfg.until == "upscaler":
        return facts | {"report": str(run.workdir / "report.json")} | report["upscaler"]
    return facts | {
        "vae_psnr": report["vae"]["psnr"],
        "linear_psnr": report["vae"]["linear_psnr"],
        **{
            name: report["toyworld"][name]["all"]
            for name in ("seen", "heldout")
            if "toyworld" in report
        },
    }


def _command(name: str, args: argparse.Namespace) -> str:
    words = ["sora-jax", args.verb]
    if args.verb == "train":
        words += ["--config", name]
    words += ["--workdir", args.workdir]
    words += ["--minutes", f"{args.minutes:g}"] if args.minutes is not None else []
    words += ["--data", args.data] if getattr(args, "data", None) else []
    words += [f"--config.{name}={value}" for name, value in args.overrides.items()]
    return shlex.join(words)
