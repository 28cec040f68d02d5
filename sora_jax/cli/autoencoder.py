"""A run that trains the autoencoder alone (`until` "vae"): data, training, bundle, report.

The same stages, loop and run directory as with a transformer, but the autoencoder's checkpoints,
metrics and samples are the run's own, and its bundle holds the autoencoder alone.
"""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.folder import ClipFormat
from sora_jax import files, media
from sora_jax.arrays import Params
from sora_jax.cli import pipeline, vae_suite
from sora_jax.cli.prove import setup_minutes
from sora_jax.data import records
from sora_jax.eval import vae_report
from sora_jax.eval.report import STAGES
from sora_jax.eval.showcase import show_reconstructions
from sora_jax.export.bundle import ClipForm, open_vae, write_vae
from sora_jax.generate.codec import Codec, check_size
from sora_jax.models.network import LatentStats
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import goodput
from sora_jax.train.vae_run import TrainedVAE

_CARD = """# {name}

A video autoencoder trained by sora_jax on: {data}. Settings are in config.json; the figures that go
with these weights are in the run's report.json.
"""


def train(run: pipeline.Run) -> TrainedVAE:
    """All stages up to the bundle. Raises train.loop.Stopped after Ctrl-C."""
    cfg = run.cfg
    check_size(cfg.vae.model, cfg.data.size)
    mesh = meshes.make_mesh(cfg.mesh)
    data = hosts.first_then_all(lambda: pipeline.prepare_data(run), "data")
    samples = functools.partial(write_samples, run, data)
    trained = pipeline.run_vae(run, data, mesh, run.workdir, samples)
    hosts.leave()  # what is left is one process's work
    if hosts.is_first():
        write_vae(
            run.workdir / "bundle",
            vae=cfg.vae.model,
            latents=trained.stats,
            clips=ClipForm(size=cfg.data.size, num_frames=cfg.data.num_frames, fps=cfg.data.fps),
            params=trained.params,
            card=_CARD.format(name=cfg.name, data=cfg.data.source),
        )
    return trained


def write_samples(run: pipeline.Run, data: Path, step: int, params: Params) -> dict[str, Path]:
    """Source, reconstruction and error of the first held-out clips: an mp4 each, and a sheet."""
    cfg = run.cfg
    source = records.open_split(data, pipeline.heldout(data))
    count = min(cfg.eval.shown, len(source))
    videos = np.stack([records.decode(source[i]) for i in range(count)])
    codec = Codec(cfg.vae.model, LatentStats.identity(cfg.vae.model.channels), params)
    rebuilt = codec.decode(codec.encode(videos))
    examples = show_reconstructions(source.ids[:count], videos, rebuilt, count=count)
    directory = run.workdir / "samples" / f"{step:06d}"
    with files.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for i, example in enumerate(examples):
        paths[f"sample_{i}"] = directory / f"{i}.mp4"
        upscale = max(1, 256 // example.video.shape[1])
        media.write_video(paths[f"sample_{i}"], example.video, cfg.data.fps, upscale=upscale)
    vae_report.write_sheet(directory / "contact_sheet.png", examples)
    return paths


def prove(run: pipeline.Run, trained: TrainedVAE, *, command: str) -> dict[str, Any]:
    """Judge the run's bundle on held-out clips and write report.json, .html and .png."""
    bundle = open_vae(run.workdir / "bundle")
    form = ClipFormat(
        size=bundle.clips.size, num_frames=bundle.clips.num_frames, fps=bundle.clips.fps
    )
    run.minutes["eval"] = 0.0  # judged anew each time
    ledger = goodput.Ledger(run.workdir / goodput.FILE)
    ledger.enter("evaluate")
    with run.timed("eval"):
        data = str(run.workdir / "data")
        found, notes = vae_suite.judge(bundle, form, data, run.cfg.eval.samples)
    for note in notes:
        print(note, file=sys.stderr)
    ledger.write()
    spent = goodput.summarise(run.workdir)
    if spent:
        print(spent.table(), file=sys.stderr)
    minutes = run.minutes | {"setup": setup_minutes()}
    shown = {name: minutes.get(name, 0.0) for name in STAGES if name != "dit"}
    figures = {
        "minutes": shown | {"total": sum(shown.values())},
        **found.figures,
        "training": {
            "steps": trained.steps,
            "clips_seen": trained.steps * run.cfg.vae.loop.batch_size,
            "steps_per_second": trained.steps_per_second,
            "compiles": trained.compiles,
        },
        "goodput": spent.to_json() if spent else None,
    }
    return vae_report.write(
        run.workdir / "report.json", figures, found.examples, command=command, run=run.workdir
    )
