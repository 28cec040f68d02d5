"""How fast a train step is on this CPU: against PyTorch, against its own matmul rate, by tokens.

    make bench-cpu                         # or: python -m benchmarks.cpu --torch PATH_OF_ITS_PYTHON

Writes report.json and cost.png. Every figure is of one run on one machine that does nothing else;
figures of different runs are not to be compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from sora_jax.cli import runtime

runtime.prepare()

import numpy as np  # noqa: E402

from benchmarks.step import Work, seconds_of_a_step  # noqa: E402
from sora_jax import files  # noqa: E402
from sora_jax.models.dit import DiTConfig  # noqa: E402
from sora_jax.models.presets import preset  # noqa: E402
from sora_jax.train import flops  # noqa: E402

PEER = Work(rows=2, tokens=1024)
SHARE = Work(rows=1, tokens=2048)
CURVE = (256, 512, 1024, 2048, 4096, 8192, 16384)
CURVE_SIZE = {"depth": 2}  # layers of S: the exponent does not depend on their number
DTYPES = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, help="a Python that has PyTorch")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_cpu"))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    ours = {dtype: step("S", dtype, PEER, args.seconds)[0] for dtype in DTYPES}
    peer = torch_steps(args.torch, args.seconds)
    share = {dtype: matmul_share(dtype, args.seconds) for dtype in DTYPES}
    curve = {tokens: tokens_cost(tokens, args.seconds / 4) for tokens in CURVE}
    ratios = {
        f"train_step_ratio_torch_{way}": max(ours[dtype] / peer[way][dtype] for dtype in DTYPES)
        for way in ("eager", "compile")
    }
    report = {
        **ratios,
        "matmul_share": share["float32"]["share"],
        "cost_exponent": exponent(curve),
        "seconds": {"sora_jax": ours, **peer},
        "shares": share,
        "cost": {str(tokens): seconds for tokens, seconds in curve.items()},
        "threads": os.cpu_count(),
    }
    files.write_text(args.out / "report.json", json.dumps(report, indent=2) + "\n")
    plot(curve, report["cost_exponent"], args.out / "cost.png")
    tell(json.dumps({key: report[key] for key in (*ratios, "matmul_share", "cost_exponent")}))
    tell(f"the report is {args.out / 'report.json'}")


def step(size: str, dtype: str, work: Work, seconds: float, **changes) -> tuple[float, int]:
    """(seconds, matmul FLOPs) of a step of a preset."""
    cfg = DiTConfig(**preset(size) | {"dtype": dtype} | changes)
    found = seconds_of_a_step(cfg, work, seconds)
    tell(f"{size}, {work.rows} x {work.tokens} tokens, {dtype}: {found[0]:.3f} s")
    return found


def torch_steps(python: str, seconds: float) -> dict:
    """Seconds of PyTorch's step by way (eager, compile) and dtype."""
    size = preset("S")
    cfg = {name: size[name] for name in ("width", "depth", "num_heads", "mlp_width")} | {
        **vars(PEER),
        "seconds": seconds,
        "threads": os.cpu_count(),
    }
    script = Path(__file__).with_name("torch_step.py")
    done = subprocess.run(
        [python, str(script), json.dumps(cfg)], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    tell(f"PyTorch: {json.dumps(found)}")
    return found


def matmul_share(dtype: str, seconds: float) -> dict[str, float]:
    """Rate of a step's matrix products at B and 2,048 tokens, over the machine's own."""
    rates = [flops.matmul_rate(dtype)]
    taken, products = step("B", dtype, SHARE, seconds)
    rates.append(flops.matmul_rate(dtype))
    rate = statistics.mean(rates)
    return {"share": products / taken / rate, "rate": rate, "seconds": taken}


def tokens_cost(tokens: int, seconds: float) -> float:
    """Seconds of a step of one row of so many tokens."""
    return step("S", "float32", Work(rows=1, tokens=tokens), seconds, **CURVE_SIZE)[0]


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
