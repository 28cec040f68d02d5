"""Where the best rate lies at `toy` widths 64, 128 and 256, with and without muP's rule.

    python -m benchmarks.width_transfer           # runs/width_transfer/report.json, 20 minutes

Each width is trained on latents of the small toy world at each multiple of the base's rates, all
from one seed and on the same batches, with the rates falling to 0; held-out loss is taken at fixed
levels and noise. The optimum is that of the parabola through the best multiple and its neighbours,
in logarithms.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from data_pipelines.toyworld.records import make_record  # noqa: E402
from sora_jax import files  # noqa: E402
from sora_jax.data import records  # noqa: E402
from sora_jax.export import bundle  # noqa: E402
from sora_jax.models import network  # noqa: E402
from sora_jax.models.dit import DiTConfig  # noqa: E402
from sora_jax.models.network import Denoiser, ModelConfig  # noqa: E402
from sora_jax.models.presets import preset  # noqa: E402
from sora_jax.models.text.encoder import TextConfig  # noqa: E402
from sora_jax.models.text.tokenizer import Tokenizer  # noqa: E402
from sora_jax.train import dit_run, optimizer, width  # noqa: E402
from sora_jax.train.dit_run import DiTTraining, LatentClips  # noqa: E402
from sora_jax.train.loop import LoopConfig  # noqa: E402
from sora_jax.train.objectives import DiffusionConfig, dit_objective  # noqa: E402
from sora_jax.train.optimizer import OptimizerConfig  # noqa: E402
from sora_jax.train.step import make_gradient  # noqa: E402

WIDTHS = (64, 128, 256)
HEAD = 32  # width of a head, at every width
BASE = 64  # width at which both ways are one
MULTIPLES = tuple(2.0**k for k in range(-3, 4))
STEPS, BATCH, CLIPS, FRAMES, PROBES = 150, 8, 256, 8, 8
RULES: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw", "base_width": BASE, "rate": 4e-3},
    "muon": {"name": "muon", "base_width": BASE, "rate": 4e-3, "matrix_rate": 8e-3},
    "adamw without the rule": {"name": "adamw", "rate": 4e-3},
}


@dataclasses.dataclass(frozen=True)
class Data:
    """Latents of both splits, and what is known of them."""

    train: LatentClips
    heldout: LatentClips
    model: ModelConfig  # its transformer is not used
    tokenizer: Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/width_transfer"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = make_data()
    report = {name: sweep(data, rule) for name, rule in RULES.items()}
    files.write_text(args.out / "report.json", json.dumps(report, indent=2) + "\n")
    tell(json.dumps({name: found["spread"] for name, found in report.items()}))
    tell(f"the report is {args.out / 'report.json'}")


def sweep(
    data: Data,
    rule: dict[str, Any],
    widths: Sequence[int] = WIDTHS,
    multiples: Sequence[float] = MULTIPLES,
    steps: int = STEPS,
) -> dict[str, Any]:
    """Held-out losses by width and multiple, the best multiple of each width, and their spread.

    The spread is the largest optimum over the smallest: 1 is perfect transfer.
    """
    losses = {size: train(data, size, rule, multiples, steps) for size in widths}
    best = {size: optimum(found) for size, found in losses.items()}
    spread = max(best.values()) / min(best.values())
    tell(f"{rule}: best multiples {best}, spread {spread:.2f}")
    return {"rule": rule, "losses": losses, "best": best, "spread": round(spread, 3)}


def train(
    data: Data, size: int, rule: dict[str, Any], multiples: Sequence[float], steps: int
) -> dict[float, float]:
    """Held-out loss after a training at each multiple of the rates; one program for all."""
    cfg = _training(data, size, rule)
    _, shapes, names = network.graph(Denoiser, cfg.model)
    base = cfg.optimizer.base_width
    factors = width.factors(shapes, names, base) if base else None
    tx = optimizer.make_optimizer(cfg.optimizer, factors=factors)
    loss_fn = dit_objective(cfg.model, cfg.diffusion)
    gradient = make_gradient(loss_fn)

    @jax.jit
    def update(state, batch, number, multiple):
        params, opt_state = state
        _, _, grads = gradient(params, batch, jax.random.key(number))
        updates, opt_state = tx.update(grads, opt_state, params)
        # Without decay all updates are proportional to the rates.
        factor = multiple * optimizer.rate_factor(cfg.optimizer, number, number / steps)
        return (jax.tree.map(lambda p, u: p + factor * u, params, updates), opt_state)

    probe = jax.jit(lambda params, batch: loss_fn(params, batch, jax.random.key(0))[0])
    rows = dit_run.make_rows(cfg, data.train, data.tokenizer, seed=0)
    batches = [rows[i] for i in range(steps)]
    kept_out = dit_run.make_rows(cfg, data.heldout, data.tokenizer, seed=1)
    probes = [kept_out[i] for i in range(PROBES)]
    found = {}
    for multiple in multiples:
        params = network.init(Denoiser, cfg.model, jax.random.key(0))
        state = params, tx.init(params)
        for number, batch in enumerate(batches):
            state = update(state, batch, jnp.int32(number), jnp.float32(multiple))
        found[multiple] = float(np.mean([probe(state[0], batch) for batch in probes]))
        tell(f"width {size}, rates times {multiple:g}: {found[multiple]:.4f}")
    return found


def optimum(losses: dict[float, float]) -> float:
    """The best multiple; at an end of the range, that end."""
    places, values = np.log2(list(losses)), np.array(list(losses.values()))
    values = np.where(np.isfinite(values), values, np.inf)
    low = int(np.argmin(values))
    if low in (0, len(values) - 1) or not np.isfinite(values[low - 1 : low + 2]).all():
        return float(2.0 ** places[low])
    square, slope, _ = np.polyfit(places[low - 1 : low + 2], values[low - 1 : low + 2], 2)
    return float(2.0 ** (-slope / (2 * square)))


def make_data() -> Data:
    """Clips of half the toy world's length as latents of the embedded autoencoder."""
    found = bundle.open_model("toyworld")
    encode = jax.jit(lambda video: network.vae_encode(found.model, found.params["vae"], video))

    def split(name: str, count: int) -> LatentClips:
        made = [make_record("small", name, number) for number in range(count)]
        video = np.stack([records.decode(record)[:FRAMES] for record in made])
        latents = [np.asarray(encode(part / 127.5 - 1.0)) for part in np.split(video, count // 32)]
        texts = [[(c.text, c.start, c.end) for c in record.captions[:1]] for record in made]
        whole = np.concatenate(latents).astype(np.float16)
        size = video.shape[2:4]
        return LatentClips(latents=whole, held=whole, captions=texts, fps=made[0].fps, size=size)

    return Data(split("train", CLIPS), split("heldout", 64), found.model, found.tokenizer)


def _training(data: Data, size: int, rule: dict[str, Any]) -> DiTTraining:
    heads = size // HEAD
    toy = preset("toy") | {"width": size, "num_heads": heads, "mlp_width": 4 * size}
    text = TextConfig(
        width=size,
        depth=1,
        num_heads=heads,
        vocab_size=data.tokenizer.vocab_size,
        max_tokens=data.tokenizer.max_tokens,
        dtype="float32",
    )
    dit = DiTConfig(**toy, dtype="float32", unroll=4)
    return DiTTraining(
        model=dataclasses.replace(data.model, dit=dit, text=text),
        diffusion=DiffusionConfig(),
        optimizer=OptimizerConfig(warmup=15, ns_steps=3, **rule),
        loop=LoopConfig(steps=STEPS, batch_size=BATCH),
        still_share=0.0,
        global_share=1.0,
    )


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
