"""How plans are shown: one for people, many as the table of docs/planning.md."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_GIB = 2**30
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (1, "bytes"))
BEGIN, END = "<!-- plans: begin (made by make plan) -->", "<!-- plans: end -->"


def describe(result: dict[str, Any]) -> str:
    """The result of `sora-jax plan` in lines."""
    if "ranking" in result:
        return ranking(result)
    if "hbm_bytes_per_chip" not in result:
        return "\n".join(f"{name:15} {value}" for name, value in result.items())
    memory, seconds = result["hbm_bytes_per_chip"], result["est_step_seconds"]
    lines = [f"{result['config']} on {result['topology']} ({result['what']})", ""]
    lines += [
        f"{'memory a chip':28}{_size(memory['total'])} of {_size(memory['limit'])}",
        *(f"  {name:26}{_size(memory[name])}" for name in ("params", "optimizer", "activations")),
    ]
    if seconds:
        lines += [f"{'step, estimated':28}{seconds['total']:.2f} s"]
        lines += [f"  {name:26}{value:.3f} s" for name, value in seconds.items() if name != "total"]
    if result["est_mfu"]:
        lines.append(f"{'MFU, estimated':28}{result['est_mfu']:.1%}")
    if result["tokens_per_second_per_chip"]:
        lines.append(f"{'tokens a second a chip':28}{result['tokens_per_second_per_chip']:,.0f}")
    for name in ("est_chip_hours", "est_cost"):
        if name in result:
            lines.append(
                f"{name.replace('est_', '').replace('_', ' ') + ', estimated':28}{result[name]:,}"
            )
    if "packed" in result:
        packed = result["packed"]
        lines.append(
            f"{'packed row':28}{packed['clips']} clips take {packed['time_ratio']:.3f} times the "
            "time of one clip of as many tokens"
        )
    lines += ["", "exchanges between chips"]
    lines += [
        f"  {kind:26}{found['count']:,} runs, {_size(found['bytes'])} sent by a chip"
        for kind, found in result["collectives"].items()
    ] or ["  none"]
    lines += ["", "largest buffers"]
    lines += [f"  {_size(b['bytes']):>12}  {b['source']}" for b in result["largest_buffers"]]
    lines += ["", f"compiled in {result['compile_seconds']} s; to be known:"]
    lines += [f"  {caveat}" for caveat in result["caveats"]]
    return "\n".join(lines)


def ranking(result: dict[str, Any]) -> str:
    """The result of a sweep, the fastest first."""
    lines = [f"{'mesh':38}{'remat':12}{'seconds':>9}{'MFU':>8}{'GiB a chip':>12}"]
    for item in result["ranking"]:
        mesh = " ".join(f"{axis} {size}" for axis, size in item["mesh"].items())
        seconds = item["est_step_seconds"]
        time = f"{seconds:9.2f}" if seconds else f"{'-':>9}"
        mfu = f"{item['est_mfu']:8.1%}" if item["est_mfu"] else f"{'-':>8}"
        size = f"{item['total'] / _GIB:12.1f}" if item["total"] else f"{'-':>12}"
        lines.append(f"{mesh:38}{item['remat']:12}{time}{mfu}{size}  {item['note']}")
    return "\n".join(lines)


def kernel_rows(timed: Sequence[Any]) -> list[dict[str, Any]]:
    """Each kernel call with its schedule and its visits."""
    return [
        {
            "kernel": item.kernel.name,
            "source": item.call.name,
            "times": item.call.times,
            "heads": item.call.operands[6].dims[0],
            "bundles": dataclasses.asdict(item.schedule),
            "visits": dataclasses.asdict(item.visits),
            "cycles": item.cycles,
        }
        for item in timed
    ]


def write_table(path: Path, plans: Sequence[dict[str, Any]]) -> None:
    """Put the plans into the page, between its marks."""
    head, _, rest = path.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    lines = [
        "| config | topology | GiB a chip | est. s a step | compute, attention, exchanges "
        "| est. MFU | tokens/s/chip | compiled in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(plan) for plan in plans]
    path.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


def _size(count: int) -> str:
    unit, name = next((u for u in _UNITS if count >= u[0]), _UNITS[-1])
    return f"{count / unit:.2f} {name}" if unit > 1 else f"{count} {name}"


def _line(plan: dict[str, Any]) -> str:
    name = Path(plan["config"]).stem
    if not plan.get("fits"):
        return f"| `{name}` | {plan['topology']} | {plan['error']} | | | | | |"
    seconds, memory = plan["est_step_seconds"], plan["hbm_bytes_per_chip"]
    parts = (
        f"{seconds['compute']:.2f}, {seconds['attention_kernels']:.2f}, "
        f"{seconds['collectives_lower']:.2f}-{seconds['collectives_upper']:.2f}"
    )
    return (
        f"| `{name}` | {plan['topology']} | {memory['total'] / _GIB:.1f} | {seconds['total']:.2f} "
        f"| {parts} | {plan['est_mfu']:.1%} | {plan['tokens_per_second_per_chip']:,.0f} "
        f"| {plan['compile_seconds']:.0f} s |"
    )
