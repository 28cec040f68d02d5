"""A run that trains an upscaler (`until` "upscaler"): data, training, bundle, report.

The same stages, loop and run directory as with an autoencoder; checkpoints and metrics are the
upscaler's.
"""

import functools
import json
from typing import Any

from sora_jax import files
from sora_jax.cli import pipeline
from sora_jax.eval import provenance
from sora_jax.eval.report import rounded
from sora_jax.export.upscaler import write_upscaler
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train.upscaler_run import TrainedUpscaler, UpscalerTraining, train_upscaler

_CARD = """# {name}

An upscaler that doubles the size of pictures, trained by sora_jax on: {data}. On held-out clips,
halved and enlarged again: {psnr:.2f} dB, Lanczos {lanczos_psnr:.2f} dB.
"""


def train(run: pipeline.Run) -> TrainedUpscaler:
    """All stages up to the bundle. Raises train.loop.Stopped after Ctrl-C."""
    cfg = run.cfg
    mesh = meshes.make_mesh(cfg.mesh)
    data = hosts.first_then_all(lambda: pipeline.prepare_data(run), "data")
    part = cfg.upscaler
    with run.timed("upscaler"):
        trained = train_upscaler(
            UpscalerTraining(
                model=part.model, frames=part.frames, optimizer=part.optimizer, loop=part.loop
            ),
            pipeline.load_videos(data, "train", cfg.data.num_train),
            pipeline.load_videos(data, pipeline.heldout(data), cfg.eval.samples),
            workdir=run.workdir,
            mesh=mesh,
            writers=functools.partial(
                pipeline.open_writers, run, run.workdir, "training the upscaler"
            ),
        )
    hosts.leave()  # what is left is one process's work
    if hosts.is_first():
        write_upscaler(
            run.workdir / "bundle",
            cfg=part.model,
            params=trained.params,
            card=_CARD.format(name=cfg.name, data=cfg.data.source, **trained.figures),
        )
    return trained


def prove(run: pipeline.Run, trained: TrainedUpscaler, *, command: str) -> dict[str, Any]:
    """Write report.json: the figures on held-out clips."""
    report = rounded(
        {
            "minutes": run.minutes,
            "upscaler": trained.figures,
            "params": pipeline.num_params(trained.params),
            "steps": trained.steps,
            "steps_per_second": trained.steps_per_second,
            "machine": provenance.describe_machine(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "command": command,
        }
    )
    files.write_text(run.workdir / "report.json", json.dumps(report, indent=2) + "\n")
    return report
