"""The trained autoencoder of a run, kept so that a restart reads it and decodes no clip.

`bundle` has its weights as they are, with their digests; `trained.json` its figures.
"""

import dataclasses
import logging
from pathlib import Path

from sora_jax import config
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.errors import UsageError
from sora_jax.export.bundle import ClipForm, open_vae, write_vae
from sora_jax.train.vae_run import TrainedVAE

_CARD = """# {name}: the autoencoder

As the run's transformer was trained on; the run's own bundle has both.
"""


@dataclasses.dataclass(frozen=True)
class _Figures:
    psnr: float
    linear_psnr: float
    steps: int
    steps_per_second: float


def write(workdir: Path, cfg: ExperimentConfig, trained: TrainedVAE) -> None:
    """Keep what the stage has left; the figures come last, and say that all is there."""
    write_vae(
        workdir / "bundle",
        vae=cfg.vae.model,
        latents=trained.stats,
        clips=ClipForm(size=cfg.data.size, num_frames=cfg.data.num_frames, fps=cfg.data.fps),
        params=trained.params,
        card=_CARD.format(name=cfg.name),
        dtype="float32",
    )
    figures = _Figures(trained.psnr, trained.linear_psnr, trained.steps, trained.steps_per_second)
    config.save_json(workdir / "trained.json", figures)


def read(workdir: Path) -> TrainedVAE | None:
    """What was kept; None if that is nothing yet, or damaged: the checkpoint is asked then."""
    if not (workdir / "trained.json").exists():
        return None
    try:
        figures = config.load_json(_Figures, workdir / "trained.json")
        bundle = open_vae(workdir / "bundle")
    except UsageError as error:
        logging.warning("%s; its checkpoint is read instead", error)
        return None
    return TrainedVAE(
        bundle.params,
        bundle.latents,
        figures.psnr,
        figures.linear_psnr,
        figures.steps,
        figures.steps_per_second,
        compiles=0,
    )
