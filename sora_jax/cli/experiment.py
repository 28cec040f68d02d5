"""The resolved settings of a run: what an experiment file turns into."""

import dataclasses
from typing import Literal

from sora_jax.data.augment import AugmentConfig
from sora_jax.export.sampling import SamplingConfig
from sora_jax.models.dit import DiTConfig
from sora_jax.models.text.encoder import TextConfig
from sora_jax.models.upscaler import UpscalerConfig
from sora_jax.models.vae.vae import VAEConfig
from sora_jax.sharding.context import AttentionConfig
from sora_jax.sharding.mesh import MeshConfig, Split
from sora_jax.train.loop import LoopConfig
from sora_jax.train.objectives import DiffusionConfig
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.packed import PackingConfig
from sora_jax.train.vae_objective import VAELossConfig
from sora_jax.train.vae_run import Normalise


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where clips come from, and their one geometry."""

    source: str  # toyworld | physics | a directory of shards or of NAME.mp4 + NAME.txt
    num_train: int  # clips to render
    num_test: int  # clips to render of each other split
    num_vae: int  # training clips that the VAE sees
    size: tuple[int, int]  # height, width
    num_frames: int
    fps: float
    max_windows: int  # cut from each video of a directory
    packing: PackingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEPart:
    model: VAEConfig
    loss: VAELossConfig
    optimizer: OptimizerConfig
    loop: LoopConfig
    augment: AugmentConfig
    normalise: Normalise
    split: Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiTPart:
    model: DiTConfig
    text: TextConfig
    diffusion: DiffusionConfig
    optimizer: OptimizerConfig
    loop: LoopConfig
    attention: AttentionConfig
    still_share: float
    global_share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscalerPart:
    model: UpscalerConfig = UpscalerConfig()
    frames: int = 2  # of each clip
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    samples: int  # clips of each set
    shown: int  # fixed prompts that are sampled while training


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What `sora-jax plan` is asked, unless it is told otherwise."""

    topology: str = "cpu:8"
    clips: tuple[tuple[int, int, int, int], ...] = ()  # how many, frames, height, width
    tokens: int = 0  # of the row; 0: those of its clips


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A run: data, autoencoder, transformer, sampling, evaluation."""

    name: str
    data: DataConfig
    vae: VAEPart
    dit: DiTPart
    sampling: SamplingConfig
    mesh: MeshConfig
    eval: EvalConfig
    plan: PlanConfig = PlanConfig()
    upscaler: UpscalerPart = UpscalerPart()
    until: Literal["vae", "dit", "upscaler"] = "dit"  # what is trained last, or alone

    def __post_init__(self):
        if self.vae.model.deep_encoder and self.vae.loss.rough_share >= 1:
            raise ValueError(
                "vae.model.deep_encoder adds a network that vae.loss.rough_share 1 never trains; "
                "lower the share, say to 0.5, or leave the encoder linear"
            )
        # A bundle must say for itself how to sample, so these stand twice: they have to agree.
        pairs = {
            "prediction": (self.sampling.prediction, self.dit.diffusion.prediction),
            **{
                name: (getattr(self.sampling, name), getattr(self.data, name))
                for name in ("size", "num_frames", "fps")
            },
        }
        for name, (sampled, trained) in pairs.items():
            if sampled != trained:
                raise ValueError(
                    f"sampling.{name} is {sampled!r} and training has {trained!r}; set both"
                )
