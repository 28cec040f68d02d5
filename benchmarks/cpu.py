"""How fast a train step is on this CPU: against PyTorch, against its own matmul rate, by tokens.

    make bench-cpu                         # or: python -m benchmarks.cpu --torch PATH_OF_ITS_PYTHON

Writes report.json and cost.png. Every figure is of one run on one machine that does nothing else;
figures of different runs are not to be compared.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import numpy as np  # noqa: E402

from benchmarks.step import Step, Work, prepare  # noqa: E402
from sora_jax import files  # noqa: E402
from sora_jax.models.dit import DiTConfig  # noqa: E402
from sora_jax.models.presets import preset  # noqa: E402
from sora_jax.train import flops  # noqa: E402

PEER = Work(rows=2, tokens=1024)
SHARE = Work(rows=1, tokens=2048)
CURVE = (256, 512, 1024, 2048, 4096, 8192, 16384)
CURVE_SIZE = {"depth": 2}  # layers of S: the exponent does not depend on their number
WAYS, DTYPES = ("eager", "compile"), ("float32", "bfloat16")
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="a Python that has PyTorch")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_cpu"))
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    turns = {
        way: {dtype: take_turns(args.torch, way, dtype, args.seconds) for dtype in DTYPES}
        for way in WAYS
    }
    share = {dtype: matmul_share(dtype, args.seconds) for dtype in DTYPES}
    curve = {tokens: tokens_cost(tokens, args.seconds / 4) for tokens in CURVE}
    ratios = {
        f"train_step_ratio_torch_{way}": max(found["ratio"] for found in by_dtype.values())
        for way, by_dtype in turns.items()
    }
    report = {
        **ratios,
        "matmul_share": share["float32"]["share"],
        "cost_exponent": exponent(curve),
        "turns": turns,
        "shares": share,
        "cost": {str(tokens): seconds for tokens, seconds in curve.items()},
        "threads": os.cpu_count(),
    }
    files.write_text(args.out / "report.json", json.dumps(report, indent=2) + "\n")
    plot(curve, report["cost_exponent"], args.out / "cost.png")
    tell(json.dumps({key: report[key] for key in (*ratios, "matmul_share", "cost_exponent")}))
    tell(f"the report is {args.out / 'report.json'}")


def prepared(size: str, dtype: str, work: Work, **changes) -> Step:
    """The step of a preset, its layers one after the other.

    A loop over them first fills the arrays of all that it keeps with zeros: 15% of a step here.
    """
    cfg = DiTConfig(**preset(size) | {"dtype": dtype} | changes)
    return prepare(dataclasses.replace(cfg, unroll=cfg.depth), work)


def take_turns(python: str, way: str, dtype: str, seconds: float) -> dict[str, Any]:
    """Steps of S here and by PyTorch, in turns: the machine's speed changes from minute to minute.

    The ratio is the median of those of the rounds. A peer whose step takes a minute has one round.
    """
    size = preset("S")
    cfg = {name: size[name] for name in ("width", "depth", "num_heads", "mlp_width")} | {
        **vars(PEER),
        "dtype": dtype,
        "compile": way == "compile",
        "threads": os.cpu_count(),
    }
    own = prepared("S", dtype, PEER)
    command = [python, str(Path(__file__).with_name("torch_step.py")), json.dumps(cfg)]
    rounds: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as peer:
        assert peer.stdin and peer.stdout
        version = peer.stdout.readline().removeprefix("ready ").strip()
        if not version:
            raise SystemExit(f"PyTorch's step ended before it ran; try {' '.join(command[:2])}")
        while len(rounds) < ROUNDS and not (rounds and rounds[-1][1] > 60):
            ours = own.best(seconds / ROUNDS)
            peer.stdin.write(f"{seconds / ROUNDS}\n")
            rounds.append((ours, float(peer.stdout.readline())))
            tell(f"{dtype}: {ours:.3f} s; PyTorch {way} {rounds[-1][1]:.3f} s")
        peer.stdin.close()
    ratio = statistics.median(ours / theirs for ours, theirs in rounds)
    return {"ratio": ratio, "rounds": rounds, "torch": version}


def matmul_share(dtype: str, seconds: float) -> dict[str, float]:
    """Rate of a step's matrix products at B and 2,048 tokens, over the machine's own."""
    rates = [flops.matmul_rate(dtype)]
    step = prepared("B", dtype, SHARE)
    taken = step.best(seconds)
    rates.append(flops.matmul_rate(dtype))
    rate = statistics.mean(rates)
    tell(f"B, {SHARE.tokens} tokens, {dtype}: {taken:.3f} s")
    return {"share": step.products / taken / rate, "rate": rate, "seconds": taken}


def tokens_cost(tokens: int, seconds: float) -> float:
    """Seconds of a step of one row of so many tokens."""
    taken = prepared("S", "float32", Work(rows=1, tokens=tokens), **CURVE_SIZE).best(seconds)
    tell(f"{tokens} tokens: {taken:.3f} s")
    return taken


def exponent(curve: dict[int, float]) -> float:
    """Of the power law through the costs, fitted in logarithms."""
    slope, _ = np.polyfit(np.log(list(curve)), np.log(list(curve.values())), 1)
    return float(slope)


def plot(curve: dict[int, float], fitted: float, path: Path) -> None:
    """Cost by tokens on logarithmic axes, drawn with Pillow."""
    from PIL import Image, ImageDraw

    size, edge = 480, 60
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    x, y = np.log2(list(curve)), np.log10(list(curve.values()))

    def place(values: np.ndarray, flip: bool) -> np.ndarray:
        part = (values - values.min()) / (values.max() - values.min())
        return edge + (size - 2 * edge) * (1 - part if flip else part)

    points = list(zip(place(x, False).tolist(), place(y, True).tolist(), strict=True))
    draw.line(points, fill="black", width=2)
    for (left, top), (tokens, seconds) in zip(points, curve.items(), strict=True):
        draw.ellipse((left - 4, top - 4, left + 4, top + 4), fill="black")
        draw.text((left - 10, top - 20), f"{seconds:.2g}", fill="black")
        draw.text((left - 14, size - edge + 12), str(tokens), fill="black")
    draw.text((edge, 16), f"seconds of a step by tokens; exponent {fitted:.2f}", fill="black")
    image.save(path)


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
