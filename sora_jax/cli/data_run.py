"""`sora-jax data run`: from raw video to captioned shards."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from sora_jax.errors import UsageError

SUMMARY = "cut, score, filter and caption videos and images, and write shards"
EXAMPLE = "sora-jax data run videos/ -o runs/film --set clip.short_side=128"

HELP = """Sources are folders (with all below them) and files: any video or image that PyAV reads.
Captions come from NAME.txt, NAME.json or NAME.jsonl beside NAME.mp4, or from where caption.order
says. The folder OUT gets shards/, clips.jsonl (every clip with scores and reasons), report.json and
report.html. A run that was stopped goes on when the same command is given again.

settings, such as --set decide.max_text_area=0.05 (docs/data_pipeline.md explains each):
  ingest  shots  clip  score  dedup  decide  caption  heldout_share"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description}\n\n{HELP}"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="folder or file")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="folder of the run")
    parser.add_argument(
        "--settings", metavar="FILE", help="settings as YAML or JSON: {clip: {fps: 12}, ...}"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.FIELD=VALUE",
        help="one setting; may be given again, and wins over --settings",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes for the work (one a core)",
    )
    parser.add_argument(
        "--runner",
        default="local",
        metavar="NAME",
        help="local, or one of Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner; what"
        " comes after -- goes to Beam (local)",
    )
    parser.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable that holds the key of caption.endpoint (OPENAI_API_KEY)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the pipeline on this machine and write the report."""
    from data_pipelines import local, pipeline, report, yields

    if args.processes < 1:
        raise UsageError(f"--processes {args.processes} must be at least 1")
    config = load_settings(args.settings, args.set)
    pipeline.check_packages(config)
    key = os.environ.get(args.api_key_env, "")
    if args.runner == "local":
        if args.command:
            raise UsageError(f"{args.command[0]} is for Beam; name a --runner or leave it out")
        outcome = local.run(
            args.sources, args.out, config, processes=args.processes, key=key, progress=tell
        )
    else:
        outcome = _run_beam(args, config, key)
    print(yields.table(outcome.yields), file=sys.stderr)
    figures = report.write(outcome, args.out, config)
    if not outcome.splits:
        reasons = ", ".join(f"{n} {count}" for n, count in figures["clips_rejected"].items())
        raise UsageError(
            f"no clip is kept ({reasons}), so there are no shards; {args.out}/report.html shows why"
        )
    return {
        "shards": str(Path(args.out) / "shards"),
        "clips_kept": figures["clips_kept"],
        "clips_rejected": figures["clips_rejected"],
        "minutes": figures["minutes"],
        "report": str(Path(args.out) / "report.html"),
    }


def _run_beam(args: argparse.Namespace, config: Any, key: str) -> Any:
    try:
        from data_pipelines import beam
    except ImportError as error:
        raise UsageError(
            f"--runner {args.runner} needs Apache Beam, which lives apart: `make beam` makes"
            " .venv-beam, whose sora-jax has it"
        ) from error
    return beam.run(
        args.sources, args.out, config, runner=args.runner, options=args.command, key=key
    )


def tell(line: str) -> None:
    """Progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def load_settings(path: str | None, assignments: list[str]) -> Any:
    """The settings of a run from a file and `STAGE.FIELD=VALUE` words, all checked."""
    import yaml

    from data_pipelines.pipeline import PipelineConfig
    from sora_jax import config

    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except FileNotFoundError as error:
            raise UsageError(f"no file {path}; check the name") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path} is not YAML or JSON ({reason}); correct it") from error
        if not isinstance(values, dict):
            raise UsageError(f"{path} must hold settings by stage, such as clip: {{fps: 12}}")
    for assignment in assignments:
        name, is_given, text = assignment.partition("=")
        if not is_given:
            raise UsageError(f"--set {assignment} has no value; write --set {name}=VALUE")
        node = values
        *stages, field = name.split(".")
        for stage in stages:
            node = node.setdefault(stage, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {assignment}: {stage} is a value, not a group of settings")
        try:
            node[field] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {assignment}: {text!r} can't be read as a value") from error
    return config.resolve(PipelineConfig, values)
