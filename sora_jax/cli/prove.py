"""Judging a trained run and writing its report: what the verbs that train share."""

import sys
from pathlib import Path
from typing import Any

from sora_jax.cli import pipeline, progress, sources
from sora_jax.data import index
from sora_jax.eval import report
from sora_jax.eval.clips import RealClips, evaluate_clips, load_clips
from sora_jax.eval.running import Evaluation
from sora_jax.eval.sets import load_sets
from sora_jax.eval.suite import evaluate_toyworld
from sora_jax.export.bundle import open_model
from sora_jax.generate.engine import Engine
from sora_jax.train import goodput


def prove(run: pipeline.Run, trained: pipeline.Trained, *, command: str) -> dict[str, Any]:
    """Judge the run's bundle and write report.json, report.html and contact sheets."""
    engine = Engine(open_model(run.workdir / "bundle"))
    run.minutes["eval"] = 0.0  # judged anew each time
    ledger = goodput.Ledger(run.workdir / goodput.FILE)
    ledger.enter("evaluate")
    with run.timed("eval"), progress.stages("judging") as tell:
        evaluation = _judge(run, engine, trained.linear_psnr, tell)
    ledger.write()
    spent = goodput.summarise(run.workdir)
    if spent:
        print(spent.table(), file=sys.stderr)
    achieved = trained.matmul_flops * trained.steps_per_second
    return report.build(
        run.workdir,
        minutes=run.minutes | {"setup": setup_minutes()},
        evaluation=evaluation,
        dit={
            "params": trained.dit_params,
            "steps": trained.steps,
            "samples_seen": trained.steps * run.cfg.dit.loop.batch_size,
            "steps_per_second": trained.steps_per_second,
            "compiles": trained.compiles,
            "matmul_share": achieved / trained.matmul_rate,
        },
        command=command,
        fps=run.cfg.data.fps,
        matmul_gflops_f32=trained.matmul_rate / 1e9,
        goodput=spent.to_json() if spent else None,
    )


def _judge(
    run: pipeline.Run, engine: Engine, linear_psnr: float, tell: progress.Progress
) -> Evaluation:
    data, settings = run.workdir / "data", run.cfg.sampling
    if sources.find_kind(run.cfg.data.source) == sources.TOYWORLD:
        return evaluate_toyworld(
            engine,
            settings,
            load_sets(data, run.cfg.eval.samples),
            n=run.cfg.eval.samples,
            linear_psnr=linear_psnr,
            progress=tell,
        )
    has_heldout = "heldout" in index.read_manifest(data)["splits"]
    limit = run.cfg.eval.samples
    train = load_clips(data, "train", limit)
    none = RealClips(captions=(), videos=train.videos[:0])
    heldout = load_clips(data, "heldout", limit) if has_heldout else none
    return evaluate_clips(engine, settings, train, heldout, linear_psnr=linear_psnr, progress=tell)


def setup_minutes() -> float:
    """Time that `make setup` took to install, if this is the environment that it made."""
    path = Path(sys.prefix) / "setup_seconds"
    return float(path.read_text()) / 60 if path.exists() else 0.0
