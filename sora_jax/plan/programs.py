"""The programs that a run compiles, with abstract arrays: nothing is drawn, nothing computed."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.packing import Clip, RowSize, pack_row
from sora_jax.errors import UsageError
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import engine
from sora_jax.models import network
from sora_jax.models.dit import DiTConfig
from sora_jax.models.network import Denoiser, ModelConfig
from sora_jax.models.vae.vae import VAE
from sora_jax.plan.estimate import Row
from sora_jax.sharding import mesh as meshes
from sora_jax.train import dit_run, runner, vae_run
from sora_jax.train.dit_run import DiTTraining
from sora_jax.train.vae_run import VAETraining


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A clip's size in pixels."""

    frames: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One program to compile, and what is known of it beforehand."""

    lowered: jax.stages.Lowered
    flops: int  # of the model, by the formula of `dit_flops`, in one run on all chips; 0: not given
    tokens: int  # of clips in one run
    params: int  # bytes on one chip
    optimizer: int  # bytes on one chip: moments and the average of the weights
    row: Row
    clips: int  # in one row
    arguments: dict[int, str]  # names of the program's arguments


def train_program(
    cfg: DiTTraining, clips: Sequence[Shape], fps: float, mesh: meshes.Mesh, *, tokens: int = 0
) -> Program:
    """The training step of the transformer over rows of these clips, filled up to `tokens`.

    Raises UsageError for a row, heads or a batch that the mesh cannot divide.
    """
    row = example_row(cfg.model, clips, fps, tokens=tokens, multiple=mesh.shape["context"])
    lengths = [_tokens(cfg.model, clip) for clip in clips]
    built = runner.build(dit_run.plan(cfg), mesh)
    rows = cfg.loop.batch_size
    batch = {name: value[None] for name, value in row.items()}
    batch = dit_run.with_clip_ids(batch | {"sample_id": np.zeros(1, np.int32)})
    return _training(
        built,
        _batch(batch, rows, mesh),
        flops=3 * rows * dit_flops(cfg.model.dit, lengths, _words(cfg.model)),
        tokens=rows * int((row["segment"] >= 0).sum()),
        row=Row(tokens=row["segment"], text=row["text_segment"]),
        clips=len(clips),
    )


def vae_program(cfg: VAETraining, clip: Shape, mesh: meshes.Mesh) -> Program:
    """The training step of the autoencoder."""
    plan = vae_run.plan(cfg, lambda key: network.init(VAE, cfg.vae, key))
    frames = cfg.augment.frames or clip.frames
    video = np.zeros((1, frames, clip.height, clip.width, 3), np.uint8)
    batch: dict[str, np.ndarray] = {"video": video, "sample_id": np.zeros(1, np.int32)}
    built = runner.build(plan, mesh)
    return _training(
        built, _batch(batch, cfg.loop.batch_size, mesh), flops=0, tokens=0, row=_NO_ROW, clips=1
    )


def sample_program(
    model: ModelConfig, settings: SamplingConfig, rows: int, device: jax.Device
) -> Program:
    """All steps of sampling `rows` clips on one chip."""
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=1), [device])
    params = _abstract_params(Denoiser, model, mesh)
    inputs = jax.eval_shape(lambda: engine.example(model, settings, rows))
    inputs = _placed(inputs, mesh)
    lowered = engine.sample_rows.lower(
        params, *inputs, model=model, solver=settings.solver, prediction=settings.prediction
    )
    shape = Shape(frames=settings.num_frames, height=settings.size[0], width=settings.size[1])
    tokens = _tokens(model, shape)
    evaluations = settings.steps * (1 if settings.cfg_scale == 1 else 2)
    return Program(
        lowered=lowered,
        flops=evaluations * rows * dit_flops(model.dit, [tokens], _words(model)),
        tokens=rows * tokens,
        params=_bytes(params),
        optimizer=0,
        row=Row(tokens=np.zeros(tokens, np.int32), text=np.zeros(_words(model), np.int32)),
        clips=1,
        arguments={},
    )


def encode_program(model: ModelConfig, clip: Shape, rows: int, device: jax.Device) -> Program:
    """Encoding `rows` clips on one chip."""
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=1), [device])
    params = _abstract_params(VAE, model.vae, mesh)
    video = jax.ShapeDtypeStruct((rows, clip.frames, clip.height, clip.width, 3), jnp.uint8)
    lowered = engine.encode_rows.lower(params, _placed(video, mesh), model=model)
    return Program(
        lowered=lowered,
        flops=0,
        tokens=rows * _tokens(model, clip),
        params=_bytes(params),
        optimizer=0,
        row=_NO_ROW,
        clips=1,
        arguments={},
    )


def dit_flops(cfg: DiTConfig, clips: Sequence[int], words: int) -> int:
    """FLOPs of one forward pass over clips of these lengths, each with `words` text tokens.

    Per layer 8 L D^2 (q, k, v, out), 4 L D F (MLP), 4 L^2 D (scores and sum), and of text 4 S D^2
    (keys, values), 4 L S D (scores and sum) and, where text attention stands apart, 4 L D^2. This
    is the formula of MaxDiffusion's counter. A step of training is three times that.
    """
    width, hidden = cfg.width, cfg.mlp_width or 4 * cfg.width
    own = 12 if cfg.text_attention == "cross" else 8
    return cfg.depth * sum(
        own * length * width**2
        + 4 * length * width * hidden
        + 4 * length**2 * width
        + 4 * words * width**2
        + 4 * length * words * width
        for length in clips
    )


def example_row(
    model: ModelConfig, clips: Sequence[Shape], fps: float, *, tokens: int = 0, multiple: int = 1
) -> dict[str, np.ndarray]:
    """A packed row of clips, filled up to `tokens` and a multiple of `multiple`; all zeros.

    Raises LimitError for clips that do not fit.
    """
    words = _words(model)
    packed = [
        Clip(
            latents=np.zeros((*latent_grid(model, clip), model.vae.channels), np.float32),
            fps=fps,
            size=(clip.height, clip.width),
            text=np.ones(words, np.int32),
            text_span=np.tile(np.array([0, 1e6], np.float32), (words, 1)),
            sample_id=number,
        )
        for number, clip in enumerate(clips)
    ]
    tokens = tokens or sum(_tokens(model, clip) for clip in clips)
    size = RowSize(
        tokens=-(-tokens // multiple) * multiple,
        frames=sum(latent_grid(model, clip)[0] for clip in clips) // model.dit.patch[0],
        text=words * len(clips),
        clips=len(clips),
    )
    return pack_row(packed, size, model.dit.patch)


def latent_grid(model: ModelConfig, clip: Shape) -> tuple[int, int, int]:
    """Chunks, rows and columns. Raises UsageError for sizes that are no whole number of tokens."""
    sides = (clip.frames, clip.height, clip.width)
    units = (CHUNK_FRAMES, model.vae.spatial, model.vae.spatial)
    for name, side, unit, patch in zip(
        ("frames", "height", "width"), sides, units, model.dit.patch, strict=True
    ):
        if side % (unit * patch):
            raise UsageError(f"a clip's {name} {side} must be a multiple of {unit * patch}")
    frames, height, width = (side // unit for side, unit in zip(sides, units, strict=True))
    return frames, height, width


_NO_ROW = Row(tokens=np.zeros(0, np.int32), text=np.zeros(0, np.int32))


def _training(
    built: runner.Built, batch: Any, *, flops: int, tokens: int, row: Row, clips: int
) -> Program:
    state = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        built.abstract,
        built.shardings,
    )
    progress = jax.ShapeDtypeStruct((), jnp.float32)
    lowered = built.step_fn.lower(state, batch, progress)
    leaves = jax.tree.leaves_with_path((state, batch, progress))
    names = ("state", "batch", "progress")
    return Program(
        lowered=lowered,
        flops=flops,
        tokens=tokens,
        params=_bytes(state.params),
        optimizer=_bytes((state.opt_state, state.ema)),
        row=row,
        clips=clips,
        arguments={
            number: names[path[0].idx] + jax.tree_util.keystr(path[1:])
            for number, (path, _) in enumerate(leaves)
        },
    )


def _batch(example: dict[str, np.ndarray], rows: int, mesh: meshes.Mesh) -> dict[str, Any]:
    place = meshes.batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct(
            (rows, *value.shape[1:]), jax.dtypes.canonicalize_dtype(value.dtype), sharding=place
        )
        for name, value in example.items()
    }


def _abstract_params(make: type, cfg: Any, mesh: meshes.Mesh) -> Any:
    _, params, _ = network.graph(make, cfg)
    return _placed(params, mesh)


def _placed(tree: Any, mesh: meshes.Mesh) -> Any:
    place = meshes.replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree
    )


def _bytes(tree: Any) -> int:
    """Bytes on one chip."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _tokens(model: ModelConfig, clip: Shape) -> int:
    return math.prod(latent_grid(model, clip)) // math.prod(model.dit.patch)


def _words(model: ModelConfig) -> int:
    return model.text.max_tokens
