"""Compiles a program for a topology and says what it needs: the result of `sora-jax plan`."""

import dataclasses
import re
import time
from typing import Any

import jax

from sora_jax.plan import estimate, hlo
from sora_jax.plan.chips import Topology
from sora_jax.plan.cost import Cost, cost
from sora_jax.plan.kernels import Measure
from sora_jax.plan.programs import Program

CAVEATS = {
    "tpu": (
        "every est_ figure is an estimate of the compiler, none was measured on a TPU",
        "est_step_seconds.total lets no exchange between chips overlap with work",
        "not seen: DCN, offload to the host, stalls of memory, the input pipeline",
    ),
    "cuda": (
        "the compiler refuses no size: its total is held against the card's memory, of which the "
        "driver and NCCL take a part",
        "no step was ever run on a GPU",
    ),
    "cpu": ("memory is this machine's, shared by its devices",),
}
_OVER = re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler made of a program."""

    report: dict[str, Any]
    text: str  # the optimized program; empty if it does not fit
    timed: list[estimate.Timed]


def compile_for(program: Program, topology: Topology, find: Measure, memory_limit: int) -> Compiled:
    """The plan of a program on a topology. `memory_limit` is what one chip has, in bytes.

    A program that is too large for the memory gives a report with `fits` False and no times.
    """
    started = time.perf_counter()
    try:
        compiled = program.lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        found = _OVER.search(str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or not found:
            raise
        needed = float(found[1]) * _UNITS[found[2]]
        memory = _memory(program, int(needed), memory_limit)
        elapsed = time.perf_counter() - started
        return Compiled(_too_large(program, topology, memory, elapsed), "", [])
    elapsed = time.perf_counter() - started
    memory = _memory(program, _total(compiled), memory_limit)
    if memory_limit and memory["total"] > memory_limit:
        return Compiled(_too_large(program, topology, memory, elapsed), "", [])
    text = compiled.as_text() or ""
    module = hlo.parse(text)
    sums = cost(module)
    report: dict[str, Any] = {
        "fits": True,
        "hbm_bytes_per_chip": memory,
        "model_flops_per_step": program.flops,
        "hlo_matmul_flops_per_chip": sums.flops,
    }
    timed: list[estimate.Timed] = []
    if topology.chip.clock:
        timed, unknown = estimate.time_kernels(sums, topology.chip, program.row, find)
        notes = estimate.missing(sums, unknown)
        seconds = estimate.seconds(sums, timed, topology)
        report["hlo_matmul_flops_per_chip"] += estimate.kernel_flops(timed)
        report |= _rates(program, topology, seconds)
        if program.clips > 1:
            one = estimate.time_kernels(sums, topology.chip, program.row.as_one_clip(), find)[0]
            alone = estimate.seconds(sums, one, topology)["total"]
            report["packed"] = {
                "clips": program.clips,
                "one_clip_seconds": round(alone, 4),
                "time_ratio": round(seconds["total"] / alone, 4),
            }
    else:
        report |= {"est_step_seconds": None, "est_mfu": None, "tokens_per_second_per_chip": None}
        notes = _without_time(sums, topology)
    report |= {
        "collectives": estimate.by_kind(sums.collectives),
        "compile_seconds": round(elapsed, 1),
        "largest_buffers": estimate.largest_buffers(module, program.arguments),
        "caveats": [*CAVEATS[topology.chip.platform], *notes],
    }
    return Compiled(report, text, timed)


def _rates(program: Program, topology: Topology, seconds: dict[str, float]) -> dict[str, Any]:
    """Seconds, and what the model gets out of the chips in them."""
    total = seconds["total"]
    peak = topology.size * topology.chip.peak * total
    return {
        "est_step_seconds": {name: round(value, 4) for name, value in seconds.items()},
        "est_mfu": round(program.flops / peak, 4) if program.flops else None,
        "tokens_per_second_per_chip": round(program.tokens / topology.size / total, 1),
    }


def _memory(program: Program, total: int, limit: int) -> dict[str, int]:
    return {
        "params": program.params,
        "optimizer": program.optimizer,
        "activations": max(0, total - program.params - program.optimizer),
        "total": total,
        "limit": limit,
    }


def _total(compiled: jax.stages.Compiled) -> int:
    found: Any = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )


def _without_time(sums: Cost, topology: Topology) -> list[str]:
    """What is said where the compiler gives no cycles."""
    chip, notes = topology.chip, [f"no estimate of time for {topology.chip.name}"]
    if chip.peak:
        notes[0] += f": at its peak the matrix products alone take {sums.flops / chip.peak:.3g} s"
    if sums.unknown_loops:
        notes.append(f"{sums.unknown_loops} loops of unknown length are counted once")
    return notes


def _too_large(
    program: Program, topology: Topology, memory: dict[str, int], elapsed: float
) -> dict[str, Any]:
    why = "too large: no exchanges, buffers or times are given"
    return {
        "fits": False,
        "hbm_bytes_per_chip": memory,
        "model_flops_per_step": program.flops,
        "hlo_matmul_flops_per_chip": None,
        "est_step_seconds": None,
        "est_mfu": None,
        "tokens_per_second_per_chip": None,
        "collectives": {},
        "compile_seconds": round(elapsed, 1),
        "largest_buffers": [],
        "caveats": [*CAVEATS[topology.chip.platform], why],
    }
