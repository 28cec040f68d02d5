"""From an experiment to its plan: the program asked for, and others that may fit or be faster.

Needs JAX, and so comes after the settings that `cli/plan.py` makes for the topology.
"""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

from sora_jax.cli import schedule
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.errors import UsageError
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.stack import Remat
from sora_jax.plan import kernels, programs, report, target
from sora_jax.plan.chips import Chip, Topology
from sora_jax.sharding import mesh as meshes
from sora_jax.train.dit_run import DiTTraining
from sora_jax.train.vae_run import VAETraining

# What is kept for the way back, from most to least: each takes less memory and more time.
REMAT: tuple[Remat, ...] = ("none", "products", "attention", "block", "offload")
_WORDS = 8192  # of a vocabulary that is made from the captions, when a run starts
_TRIED = 3  # remedies that fit and are named


def plan(cfg: ExperimentConfig, topology: Topology, what: str) -> report.Compiled:
    """Compile what is asked for. Raises UsageError for what the mesh cannot divide."""
    program = make_program(cfg, topology, what)
    return report.compile_for(program, topology, _find_schedule, _memory(topology))


def excess(cfg: ExperimentConfig, topology: Topology, what: str, result: dict[str, Any]) -> str:
    """One line for a plan that does not fit: by how much, and what would."""
    memory = result["hbm_bytes_per_chip"]
    over = _gib(memory["total"] - memory["limit"])
    line = (
        f"{_gib(memory['total'])} of {_gib(memory['limit'])} GiB a chip of {topology.name}: "
        f"{over} GiB too much"
    )
    found: list[str] = []
    tried: list[str] = []
    for words, other in _remedies(cfg, topology) if what == "train" else ():
        if len(found) == _TRIED:
            break
        print(f"too large by {over} GiB; trying {words}", file=sys.stderr, flush=True)
        try:
            memory = plan(other, topology, what).report
        except UsageError:
            continue
        tried.append(words)
        if memory["fits"]:
            found.append(f"{words} ({_gib(memory['hbm_bytes_per_chip']['total'])} GiB)")
    if found:
        return f"{line}; fits with {', or '.join(found)}"
    return f"{line}; tried without success: {', '.join(tried) or 'nothing'}; use more chips"


def sweep(cfg: ExperimentConfig, topology: Topology, what: str) -> dict[str, Any]:
    """Every mesh that divides the batch and the heads, with every remat policy; fastest first."""
    if what != "train":
        raise UsageError(f"--sweep ranks training steps; {what} runs on one chip or has no remat")
    ranking = []
    choices = [(mesh, remat) for mesh in _meshes(cfg, topology) for remat in REMAT[:-1]]
    for number, (mesh, remat) in enumerate(choices, 1):
        print(f"{number} of {len(choices)}: {mesh} {remat}", file=sys.stderr, flush=True)
        other = _with_remat(dataclasses.replace(cfg, mesh=mesh), remat)
        item: dict[str, Any] = {"mesh": dataclasses.asdict(mesh), "remat": remat}
        try:
            found = plan(other, topology, what).report
        except UsageError as error:
            item |= {"est_step_seconds": None, "est_mfu": None, "total": None, "note": str(error)}
        else:
            seconds = found["est_step_seconds"]
            item |= {
                "est_step_seconds": seconds["total"] if seconds else None,
                "est_mfu": found["est_mfu"],
                "total": found["hbm_bytes_per_chip"]["total"],
                "note": "" if found["fits"] else "does not fit",
            }
        ranking.append(item)
    ranking.sort(key=lambda i: (i["est_step_seconds"] or float("inf"), i["total"] or 0))
    return {"topology": topology.name, "what": what, "ranking": ranking}


def make_program(cfg: ExperimentConfig, topology: Topology, what: str) -> programs.Program:
    """What is asked for, traced but not compiled. Raises UsageError as `plan` does."""
    devices = target.devices(topology)
    clips = [
        programs.Shape(frames=frames, height=height, width=width)
        for count, frames, height, width in cfg.plan.clips
        for _ in range(count)
    ] or [
        programs.Shape(frames=cfg.data.num_frames, height=cfg.data.size[0], width=cfg.data.size[1])
    ]
    model = _model(cfg)
    if what == "sample":
        return programs.sample_program(model, cfg.sampling, 1, devices[0])
    if what == "encode":
        return programs.encode_program(model, clips[0], 1, devices[0])
    mesh = meshes.make_mesh(cfg.mesh, devices)
    if what == "vae":
        part = cfg.vae
        training = VAETraining(
            vae=part.model,
            loss=part.loss,
            optimizer=part.optimizer,
            loop=part.loop,
            augment=part.augment,
            normalise=part.normalise,
            split=part.split,
        )
        return programs.vae_program(training, clips[0], mesh)
    return programs.train_program(
        _training(cfg, model), clips, cfg.data.fps, mesh, tokens=cfg.plan.tokens
    )


def _training(cfg: ExperimentConfig, model: ModelConfig) -> DiTTraining:
    part = cfg.dit
    return DiTTraining(
        model=model,
        diffusion=part.diffusion,
        optimizer=part.optimizer,
        loop=part.loop,
        attention=part.attention,
        still_share=part.still_share,
        global_share=part.global_share,
    )


def _model(cfg: ExperimentConfig) -> ModelConfig:
    text = cfg.dit.text
    if not text.vocab_size:
        text = dataclasses.replace(text, vocab_size=_WORDS)
    stats = LatentStats.identity(cfg.vae.model.channels)
    return ModelConfig(vae=cfg.vae.model, dit=cfg.dit.model, text=text, latents=stats)


def _remedies(cfg: ExperimentConfig, topology: Topology) -> Iterator[tuple[str, ExperimentConfig]]:
    """Changes that take less memory, the cheapest in time first."""
    now = REMAT.index(cfg.dit.model.remat)
    for remat in REMAT[now + 1 : -1]:
        yield f"dit.model.remat={remat}", _with_remat(cfg, remat)
    if cfg.dit.optimizer.state_dtype == "float32":
        optimizer = dataclasses.replace(cfg.dit.optimizer, state_dtype="bfloat16")
        part = dataclasses.replace(cfg.dit, optimizer=optimizer)
        yield "dit.optimizer.state_dtype=bfloat16", dataclasses.replace(cfg, dit=part)
    wide = [mesh for mesh in _meshes(cfg, topology) if mesh.data == 1 and mesh.tensor == 1]
    for mesh in sorted(wide, key=lambda mesh: mesh.context):
        if mesh.context > cfg.mesh.context:
            words = f"mesh.fsdp={mesh.fsdp} mesh.context={mesh.context}"
            yield words, dataclasses.replace(cfg, mesh=mesh)
    if not cfg.plan.clips:
        frames = cfg.data.num_frames // 8 * 4
        if frames:
            data = dataclasses.replace(cfg.data, num_frames=frames)
            sampling = dataclasses.replace(cfg.sampling, num_frames=frames)
            yield (
                f"clips of {frames} frames",
                dataclasses.replace(cfg, data=data, sampling=sampling),
            )


def _with_remat(cfg: ExperimentConfig, remat: Remat) -> ExperimentConfig:
    model = dataclasses.replace(cfg.dit.model, remat=remat)
    return dataclasses.replace(cfg, dit=dataclasses.replace(cfg.dit, model=model))


def _meshes(cfg: ExperimentConfig, topology: Topology) -> Iterator[meshes.MeshConfig]:
    """All ways to lay the topology's chips out that divide the batch and the heads."""
    size, batch = topology.size, cfg.dit.loop.batch_size // cfg.dit.loop.accumulate
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    for context, tensor in itertools.product(divisors, divisors):
        fsdp = size // (context * tensor)
        if fsdp * context * tensor != size or batch % fsdp:
            continue
        if cfg.dit.model.num_heads % (context * tensor):
            continue
        yield meshes.MeshConfig(data=1, fsdp=fsdp, context=context, tensor=tensor)


def _find_schedule(chip: Chip, kernel: kernels.Kernel) -> kernels.Schedule:
    """From the table, or measured now."""
    found = kernels.lookup(kernels.load_table(), chip, kernel)
    if found is None:
        print(f"{kernel.name} is not in the table: compiling it alone", file=sys.stderr)
        found = schedule.measure(chip, kernel)
    return found


def _memory(topology: Topology) -> int:
    """Bytes that a chip has; of the processor, its share of this machine's."""
    if topology.chip.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // topology.size
    return topology.chip.hbm


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
