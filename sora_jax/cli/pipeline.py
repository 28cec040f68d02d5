"""From data to a bundle: the stages that `quickstart`, `toyworld` and `train` share.

Each stage leaves its result in the run directory and is passed over when it is there, so the same
command goes on after a stop: data/, vae/, latents/, checkpoints/ and bundle/.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from data_pipelines import shards
from sora_jax import config, files
from sora_jax.arrays import Params
from sora_jax.cli import kept_vae, progress, sources
from sora_jax.cli.experiment import DataConfig, ExperimentConfig
from sora_jax.cli.samples import write_samples
from sora_jax.data import index, records
from sora_jax.data.mixture import Shards
from sora_jax.errors import UsageError
from sora_jax.export.bundle import Bundle, write_bundle
from sora_jax.generate.engine import Engine
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.precompute import latents as precompute
from sora_jax.precompute.latents import LatentEncoder
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import flops, writers
from sora_jax.train.dit_run import (
    DiTTraining,
    LatentClips,
    Rows,
    first_batches,
    make_rows,
    step_flops,
    train_dit,
)
from sora_jax.train.loop import Result
from sora_jax.train.packed import PackedData
from sora_jax.train.vae_run import TrainedVAE, VAETraining, train_vae

# How a run is done, not what it is.
_MAY_CHANGE = ("mesh.", ".watchdog.", ".attention.", ".reading.")
_CARD = """# {name}

A text-to-video model trained by sora_jax on: {data}. Settings are in config.json; the figures that
go with these weights are in the run's report.json.
"""


@dataclasses.dataclass
class Run:
    """A run directory and what its stages have found out."""

    cfg: ExperimentConfig
    workdir: Path
    wandb_mode: writers.Mode = "offline"
    minutes: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def minutes_path(self) -> Path:
        return self.workdir / "minutes.json"

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time inside to a stage's minutes, also when it is stopped half-way."""
        start = time.time()
        try:
            yield
        finally:
            self.minutes[name] = self.minutes.get(name, 0.0) + (time.time() - start) / 60
            if hosts.is_first():
                files.write_text(self.minutes_path, json.dumps(self.minutes) + "\n")


@dataclasses.dataclass(frozen=True)
class Trained:
    """Figures of a finished training; its weights are in the run's bundle."""

    linear_psnr: float
    dit_params: int
    steps: int
    steps_per_second: float
    compiles: int
    matmul_flops: int  # of a step
    matmul_rate: float  # FLOP/s of float32 products of this machine, just after the training


def open_run(cfg: ExperimentConfig, workdir: Path, wandb_mode: writers.Mode = "offline") -> Run:
    """The run directory for this config. Raises UsageError if it belongs to another one."""
    path = workdir / "config.json"
    if path.exists():
        found = config.difference(json.loads(path.read_text()), json.loads(_json(cfg)))
        free = _MAY_CHANGE if cfg.until == "upscaler" else (*_MAY_CHANGE, "upscaler.")
        found = [item for item in found if not any(part in item.field for part in free)]
        if found:
            raise UsageError(
                f"{workdir} holds a run with another config: {', '.join(map(str, found[:5]))}"
                "; use its settings or another --workdir"
            )
    with files.disk_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    config.save_json(path, cfg)
    run = Run(cfg, workdir, wandb_mode)
    if run.minutes_path.exists():
        run.minutes.update(json.loads(run.minutes_path.read_text()))
    return run


def train(run: Run) -> Trained:
    """All stages up to the bundle. Raises train.loop.Stopped after Ctrl-C."""
    cfg = run.cfg
    mesh = meshes.make_mesh(cfg.mesh)
    data = hosts.first_then_all(lambda: prepare_data(run), "data")
    clips = _own_shapes(cfg.data, data)
    tokenizer = make_tokenizer(run, clips)
    vae = kept_vae.read(run.workdir / "vae")
    if vae is None:
        vae = run_vae(run, data, mesh, run.workdir / "vae")
        if hosts.is_first():
            kept_vae.write(run.workdir / "vae", cfg, vae)
    model = build_model(cfg, vae.stats, tokenizer)
    latents = hosts.first_then_all(lambda: encode_latents(run, clips, model, vae.params), "latents")
    result, flops_per_step = run_dit(run, model, latents, tokenizer, vae.params, mesh)
    dit = hosts.fetch(result.state.ema)
    hosts.leave()  # what is left is one process's work
    if hosts.is_first():
        export(run, model, {"vae": vae.params, "dit": dit}, tokenizer)
    path = run.workdir / "trained.json"
    if result.compiles == 0 and path.exists():  # trained before: only read this time
        return config.load_json(Trained, path)
    trained = Trained(
        linear_psnr=vae.linear_psnr,
        dit_params=num_params(dit),
        steps=result.steps,
        steps_per_second=result.steps_per_second,
        compiles=result.compiles,
        matmul_flops=flops_per_step,
        matmul_rate=flops.matmul_rate(),
    )
    if hosts.is_first():
        config.save_json(path, trained)
    return trained


# ---- data


def prepare_data(run: Run) -> Path:
    """Shards of the run's clips: splits train, heldout and, of the toy world, seen."""
    directory = run.workdir / "data"
    with run.timed("data"):
        sources.write_clips(run.cfg.data, directory, needs_captions=run.cfg.until == "dit")
    return directory


def _own_shapes(cfg: DataConfig, data: Path) -> Path:
    """The shards that the transformer sees: with packing, given ones in the shapes they have."""
    is_given = sources.find_kind(cfg.source) == sources.SHARDS
    return Path(cfg.source) if cfg.packing.row_tokens and is_given else data


def load_videos(directory: Path, split: str, limit: int) -> np.ndarray:
    """Decoded clips of a split, uint8 N T H W 3."""
    source = records.open_split(directory, split)
    return np.stack([records.decode(source[i]) for i in range(min(limit, len(source)))])


# ---- autoencoder


def run_vae(run: Run, data: Path, mesh, workdir: Path, samples=None) -> TrainedVAE:
    """Train the autoencoder in `workdir`; once it is trained, its checkpoint is only read."""
    cfg = run.cfg
    training = VAETraining(
        vae=cfg.vae.model,
        loss=cfg.vae.loss,
        optimizer=cfg.vae.optimizer,
        loop=cfg.vae.loop,
        augment=cfg.vae.augment,
        normalise=cfg.vae.normalise,
        split=cfg.vae.split,
    )
    with run.timed("vae"):
        return train_vae(
            training,
            load_videos(data, "train", cfg.data.num_vae),
            load_videos(data, heldout(data), cfg.eval.samples),
            workdir=workdir,
            mesh=mesh,
            writers=functools.partial(open_writers, run, workdir, "training the VAE"),
            samples=samples,
        )


def encode_latents(run: Run, data: Path, model: ModelConfig, vae: Params) -> Path:
    """Latents of all training clips, plain and begun by a held still image, as shards."""
    directory = run.workdir / "latents"
    fingerprint = f"{_digest(data)} {model.latents!r}"
    if shards.is_complete(directory, fingerprint):
        return directory
    found = {name: records.open_split(data, name) for name in {"train", heldout(data)}}
    # One process encodes, so on its own devices.
    mesh = meshes.make_mesh(meshes.MeshConfig(), jax.local_devices())
    encoder = LatentEncoder(model, vae, mesh)
    with run.timed("data"), progress.bar("encoding clips", sum(map(len, found.values()))) as bar:
        shards.write(
            directory,
            {
                name: precompute.encode_latents(source, encoder, with_held=True)
                for name, source in found.items()
            },
            fingerprint=fingerprint,
            progress=lambda *_: bar.update(),
        )
    return directory


def _digest(data: Path) -> str:
    """Of the shards in a directory; their manifest has the digest of each file."""
    return hashlib.sha256((data / index.MANIFEST).read_bytes()).hexdigest()


def load_latents(directory: Path, split: str, cfg: DataConfig) -> LatentClips:
    """A split of the latents, in memory."""
    columns = records.load_all(records.open_split(directory, split)).columns
    latents = np.asarray(columns["latents"])
    texts = [[(c.text, c.start, c.end) for c in record.captions] for record in columns["record"]]
    return LatentClips(
        latents=latents[:, : latents.shape[1] // 2],
        held=latents[:, latents.shape[1] // 2 :],
        captions=texts,
        fps=cfg.fps,
        size=cfg.size,
    )


# ---- transformer


def run_dit(
    run: Run, model: ModelConfig, latents: Path, tokenizer: Tokenizer, vae: Params, mesh
) -> tuple[Result, int]:
    """Train the transformer, with samples on the way. Gives the loop's result and FLOPs a step."""
    cfg = run.cfg
    part = cfg.dit
    training = DiTTraining(
        model=model,
        diffusion=part.diffusion,
        optimizer=part.optimizer,
        loop=part.loop,
        attention=part.attention,
        still_share=part.still_share,
        global_share=part.global_share,
    )
    rows, probes = _rows(run, training, latents, tokenizer)
    shown = records.open_split(latents, heldout(latents))
    prompts = [shown[i].caption for i in range(min(cfg.eval.shown, len(shown)))]

    def samples(step: int, dit: Params) -> dict[str, Path]:
        bundle = _bundle(run, model, {"vae": vae, "dit": dit}, tokenizer)
        return write_samples(run.workdir / "samples" / f"{step:06d}", Engine(bundle), prompts)

    with run.timed("dit"):
        result = train_dit(
            training,
            rows,
            probes,
            workdir=run.workdir,
            mesh=mesh,
            writers=functools.partial(open_writers, run, run.workdir, "training the transformer"),
            samples=samples,
        )
    rows.close()
    return result, step_flops(training, probes[0])


def _rows(
    run: Run, training: DiTTraining, latents: Path, tokenizer: Tokenizer
) -> tuple[Rows, list[dict[str, np.ndarray]]]:
    """What the transformer is trained on, and the batches of its held-out loss."""
    data, seed, size = run.cfg.data, training.loop.seed, training.loop.batch_size
    splits = "train", heldout(latents)
    if not data.packing.row_tokens:
        clips, kept_out = (load_latents(latents, split, data) for split in splits)
        fixed = make_rows(training, kept_out, tokenizer, seed=seed + 1)
        rows = make_rows(training, clips, tokenizer, seed=seed)
        return rows, first_batches(fixed, len(kept_out), size)
    packed, probes = (
        PackedData(
            training,
            data.packing,
            [Shards(directory=latents, split=split)],
            tokenizer,
            seed=seed + number,
        )
        for number, split in enumerate(splits)
    )
    report = functools.partial(tqdm.tqdm.write, file=sys.stderr)
    if hosts.is_first():
        report(f"packing {packed.describe()}")
    rows = packed.batches(run.workdir, report=report)
    fixed = probes.batches(run.workdir)
    return rows, first_batches(fixed, probes.plan.epoch_start(1), size)


# ---- shared


def build_model(cfg: ExperimentConfig, stats: LatentStats, tokenizer: Tokenizer) -> ModelConfig:
    """The networks' config once the latents and the vocabulary are known."""
    text = dataclasses.replace(cfg.dit.text, vocab_size=tokenizer.vocab_size)
    return ModelConfig(vae=cfg.vae.model, dit=cfg.dit.model, text=text, latents=stats)


def make_tokenizer(run: Run, data: Path) -> Tokenizer:
    """The words of the training captions; kept, so that a restart reads no clip for them."""
    path, clips = run.workdir / "vocabulary.json", _digest(data)
    if path.exists() and (kept := json.loads(path.read_text()))["clips"] == clips:
        return Tokenizer.from_json(kept["tokenizer"])
    source = records.open_split(data, "train")
    texts = [c.text for i in range(min(len(source), 4096)) for c in source[i].captions]
    tokenizer = Tokenizer.from_captions(texts, run.cfg.dit.text.max_tokens)
    for text in set(texts):
        tokenizer.encode(text)  # a caption that is too long is found now, not after the VAE
    if hosts.is_first():
        kept = {"clips": clips, "tokenizer": tokenizer.to_json()}
        files.write_text(path, json.dumps(kept, indent=1) + "\n")
    return tokenizer


def export(run: Run, model: ModelConfig, params: dict[str, Params], tokenizer: Tokenizer) -> Path:
    """Write the run's bundle: EMA weights in half precision."""
    return write_bundle(
        run.workdir / "bundle",
        model=model,
        params=params,
        tokenizer=tokenizer,
        sampling=run.cfg.sampling,
        card=_CARD.format(name=run.cfg.name, data=run.cfg.data.source),
    )


def _bundle(run: Run, model: ModelConfig, params: dict[str, Params], tokenizer) -> Bundle:
    return Bundle(
        model=model,
        params=params,
        tokenizer=tokenizer,
        sampling=run.cfg.sampling,
        path=run.workdir,
        digest="",
    )


def open_writers(run: Run, workdir: Path, title: str, progress: float) -> list[writers.Writer]:
    """Who gets the figures of a training of which the share `progress` is done."""
    if not hosts.is_first():
        return []
    opened: list[writers.Writer] = [
        writers.JsonLines(workdir / "metrics.jsonl"),
        writers.Progress(title, progress),
    ]
    if run.wandb_mode != "disabled":
        name = f"{run.cfg.name}-{workdir.name}"
        settings = config.to_dict(run.cfg)
        opened.append(
            writers.Sink(
                "wandb", lambda: writers.Wandb(run.workdir, name, settings, mode=run.wandb_mode)
            )
        )
    return opened


def heldout(directory: Path) -> str:
    """The split that training does not see; a folder of very few videos has none but `train`."""
    return "heldout" if "heldout" in index.read_manifest(directory)["splits"] else "train"


def _json(cfg: ExperimentConfig) -> str:
    return json.dumps(config.to_dict(cfg))


def num_params(params: Any) -> int:
    """Numbers in a nested dict of arrays."""
    if isinstance(params, dict):
        return sum(num_params(value) for value in params.values())
    return math.prod(params.shape)
