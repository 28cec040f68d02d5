"""Autoencoders that differ in how they see time and space, trained for the same time on one core.

    python -m benchmarks.vae_architectures [--seconds 60] [--names folded,patch2] [--seeds 0,1,2]

Trains on the clips of `make vae-film` (`benchmarks/film_clips.py`), 64x64, 16 frames, whose shots
are trained on or held out whole. All start at the linear codec of 16 channels, and each has the
same seconds of CPU time on a core of its own, compiling apart. Writes
runs/vae_architectures/results.jsonl, a line a run. Runs that stand there are not done again: the
same command goes on after a stop. Prints the table.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

runtime.prepare()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from einops import rearrange  # noqa: E402
from flax import nnx  # noqa: E402

from benchmarks import film_clips  # noqa: E402
from sora_jax.arrays import Array  # noqa: E402
from sora_jax.data import loader  # noqa: E402
from sora_jax.data.records import Columns  # noqa: E402
from sora_jax.models import network  # noqa: E402
from sora_jax.models.layers import Conv, Dense, rms_norm  # noqa: E402
from sora_jax.models.vae import linear  # noqa: E402
from sora_jax.models.vae.vae import fold, unfold  # noqa: E402
from sora_jax.sharding import hosts  # noqa: E402
from sora_jax.sharding import mesh as meshes  # noqa: E402
from sora_jax.train import runner  # noqa: E402
from sora_jax.train.loop import LoopConfig  # noqa: E402
from sora_jax.train.optimizer import OptimizerConfig  # noqa: E402

BATCH, SIZE, FRAMES = 2, 64, 16
CHANNELS, SPATIAL, K = 16, 8, 4
CLIPS, RESULTS = "clips.npz", "results.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    mixing: str = "folded"  # folded (frames in channels) | factorised | full
    front: str = "patch"  # patch | haar
    patch: int = 4
    widths: tuple[int, ...] = (128, 192)
    blocks: int = 1
    norm: bool = False  # of what blocks see
    attention: bool = False  # over the places of a chunk, at the coarsest level
    dtype: str = "float32"  # the faster one on a CPU without bfloat16 units

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames of a chunk at each level."""
        if self.mixing == "folded":
            return (1,) * len(self.widths)
        return (K,) * (len(self.widths) - 1) + (1,)


CANDIDATES = {
    "folded": Candidate(),
    "folded_two_blocks": Candidate(blocks=2),
    "folded_norm": Candidate(norm=True),
    "folded_narrow": Candidate(widths=(64, 128)),
    "factorised": Candidate(mixing="factorised", widths=(64, 192)),
    "full": Candidate(mixing="full", widths=(48, 192)),
    "patch2": Candidate(patch=2, widths=(64, 128, 192)),
    "patch8": Candidate(patch=8, widths=(256,), blocks=2),
    "haar": Candidate(front="haar"),
    "attention": Candidate(attention=True),
}
NAMES = ("channels_in", "channels_out")


def dense(size: tuple[int, int], cfg: Candidate, rngs: nnx.Rngs, scale: float = 1.0) -> Dense:
    return Dense(size, NAMES, rngs=rngs, dtype=cfg.dtype, scale=scale)


def normed(x: Array, cfg: Candidate) -> Array:
    return rms_norm(x) if cfg.norm else x


class TimeConv(nnx.Module):
    """Convolution over three frames, and 3x3 places if `taps` is 9: products of shifted copies."""

    def __init__(self, width: int, taps: int, cfg: Candidate, *, is_causal: bool, rngs: nnx.Rngs):
        shape = (3 * taps * width, width)
        kernel = jax.random.truncated_normal(rngs.params(), -2, 2, shape) / math.sqrt(shape[0])
        self.kernel = nnx.Param(kernel, out_sharding=NAMES)
        self.taps, self.is_causal, self.dtype = taps, is_causal, cfg.dtype

    def __call__(self, x: Array) -> Array:  # B n k h w C
        x = x.astype(self.dtype)
        none = ((0, 0),) * 3
        if self.is_causal:  # the decoder: the last frame of the chunk before is seen
            line = rearrange(x, "b n k h w c -> b (n k) h w c")
            line = jnp.pad(line[:, :-1], ((0, 0), (1, 0), *none))
            before = rearrange(line, "b (n k) h w c -> b n k h w c", k=x.shape[2])
        else:
            before = jnp.pad(x[:, :, :-1], ((0, 0), (0, 0), (1, 0), *none))
        after = jnp.pad(x[:, :, 1:], ((0, 0), (0, 0), (0, 1), *none))
        seen = [before, x, after]
        if self.taps == 9:
            height, width = x.shape[3:5]
            padded = [jnp.pad(y, ((0, 0),) * 3 + ((1, 1), (1, 1), (0, 0))) for y in seen]
            shifts = [(i, j) for i in range(3) for j in range(3)]
            seen = [y[:, :, :, i : i + height, j : j + width] for y in padded for i, j in shifts]
        parts = jnp.split(self.kernel[...], len(seen))
        return sum((y @ part for y, part in zip(seen, parts, strict=True)), jnp.zeros(()))


class Block(nnx.Module):
    def __init__(self, width: int, cfg: Candidate, *, is_causal: bool, rngs: nnx.Rngs):
        time: dict[str, Any] = dict(is_causal=is_causal, rngs=rngs)
        self.conv = (
            None
            if cfg.mixing == "full"
            else Conv((width, width), NAMES, rngs=rngs, dtype=cfg.dtype)
        )
        taps = 9 if cfg.mixing == "full" else 1
        self.time = None if cfg.mixing == "folded" else TimeConv(width, taps, cfg, **time)
        self.up = dense((width, 4 * width), cfg, rngs)
        self.down = dense((4 * width, width), cfg, rngs, 0.1)
        self.cfg = cfg

    def __call__(self, x: Array) -> Array:
        if self.conv is not None:
            flat = rearrange(jax.nn.silu(normed(x, self.cfg)), "b n k h w c -> (b n k) h w c")
            x = x + self.conv(flat).reshape(x.shape)
        if self.time is not None:
            x = x + self.time(jax.nn.silu(normed(x, self.cfg)))
        return x + self.down(jax.nn.silu(self.up(normed(x, self.cfg))))


class Attention(nnx.Module):
    def __init__(self, width: int, cfg: Candidate, *, rngs: nnx.Rngs):
        self.qkv = dense((width, 3 * width), cfg, rngs)
        self.out = dense((width, width), cfg, rngs, 0.1)

    def __call__(self, x: Array) -> Array:
        flat = rearrange(x, "b n k h w c -> (b n k) (h w) c")
        heads = rearrange(self.qkv(rms_norm(flat)), "b l (m n d) -> m b l n d", m=3, d=64)
        q, k, v = rms_norm(heads[0]), rms_norm(heads[1]), heads[2]
        logits = jnp.einsum("blnd,bmnd->bnlm", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits / 8).astype(v.dtype)
        seen = jnp.einsum("bnlm,bmnd->blnd", weights, v)
        return x + self.out(rearrange(seen, "b l n d -> b l (n d)")).reshape(x.shape)


class Pyramid(nnx.Module):
    def __init__(self, ends: tuple[int, int], cfg: Candidate, *, is_up: bool, rngs: nnx.Rngs):
        order = slice(None, None, -1 if is_up else 1)
        widths, frames = cfg.widths[order], cfg.frames[order]
        self.is_up, self.frames, self.patch, self.cfg = is_up, frames, cfg.patch, cfg
        self.input = dense((ends[0], widths[0]), cfg, rngs)
        self.levels = nnx.Dict({})
        self.resizes = nnx.Dict({})
        for i, width in enumerate(widths):
            blocks: list[nnx.Module] = [
                Block(width, cfg, is_causal=is_up, rngs=rngs) for _ in range(cfg.blocks)
            ]
            if cfg.attention and i == (0 if is_up else len(widths) - 1):
                blocks.append(Attention(width, cfg, rngs=rngs))
            self.levels[str(i)] = nnx.Dict({str(j): block for j, block in enumerate(blocks)})
            if i + 1 < len(widths):
                times = max(frames[i], frames[i + 1]) // min(frames[i], frames[i + 1])
                size = (width, 4 * times * widths[i + 1])
                size = size if is_up else (4 * times * width, widths[i + 1])
                self.resizes[str(i)] = dense(size, cfg, rngs)
        self.output = dense((widths[-1], ends[1]), cfg, rngs, 0.1)

    def __call__(self, x: Array) -> Array:  # B n k h w c
        x = self.input(x)
        for i in range(len(self.levels)):
            for j in range(len(self.levels[str(i)])):
                x = self.levels[str(i)][str(j)](x)
            if str(i) in self.resizes:
                t = max(self.frames[i : i + 2]) // min(self.frames[i : i + 2])
                layer = self.resizes[str(i)]
                fine, coarse = "b n (k t) (h p) (w q) c", "b n k h w (t p q c)"
                if self.is_up:
                    x = rearrange(layer(x), f"{coarse} -> {fine}", t=t, p=2, q=2)
                else:
                    x = layer(rearrange(x, f"{fine} -> {coarse}", t=t, p=2, q=2))
        return self.output(normed(x, self.cfg)).astype(jnp.float32)


def haar(cfg: Candidate) -> np.ndarray:
    """Orthonormal wavelet of K frames and a patch: folded pixels @ it are coefficients."""

    def one(size: int) -> np.ndarray:
        if size == 1:
            return np.ones((1, 1))
        half = one(size // 2)
        low, high = np.kron(half, [1, 1]), np.kron(np.eye(size // 2), [1, -1])
        return np.concatenate([low, high]) / math.sqrt(2)

    matrix = np.kron(np.kron(one(K), one(cfg.patch)), np.kron(one(cfg.patch), np.eye(3)))
    return matrix.T.astype(np.float32)


class Encoder(nnx.Module):
    def __init__(self, cfg: Candidate, *, rngs: nnx.Rngs):
        values = K * SPATIAL**2 * 3
        self.linear = Dense((values, CHANNELS), ("channels_in", None), rngs=rngs, dtype="float32")
        inputs = K // cfg.frames[0] * cfg.patch**2 * 3
        self.network = Pyramid((inputs, CHANNELS), cfg, is_up=False, rngs=rngs)
        self.cfg = cfg

    def __call__(self, video: Array) -> Array:
        cfg = self.cfg
        x = fold(video, cfg.patch)
        x = x @ haar(cfg) if cfg.front == "haar" else x
        x = rearrange(x, "b n h w (k c) -> b n k h w c", k=cfg.frames[0])
        return self.linear(fold(video, SPATIAL)) + self.network(x)[:, :, 0]


class Decoder(nnx.Module):
    def __init__(self, cfg: Candidate, *, rngs: nnx.Rngs):
        values = K * SPATIAL**2 * 3
        self.linear = Dense((CHANNELS, values), (None, "channels_out"), rngs=rngs, dtype="float32")
        outputs = K // cfg.frames[0] * cfg.patch**2 * 3
        self.network = Pyramid((2 * CHANNELS, outputs), cfg, is_up=True, rngs=rngs)
        self.cfg = cfg

    def __call__(self, latents: Array) -> Array:
        cfg = self.cfg
        before = jnp.pad(latents[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
        x = self.network(jnp.concatenate([latents, before], -1)[:, :, None])
        x = rearrange(x, "b n k h w c -> b n h w (k c)")
        x = x @ haar(cfg).T if cfg.front == "haar" else x
        return unfold(self.linear(latents), SPATIAL) + unfold(x, cfg.patch)


class Autoencoder(nnx.Module):
    def __init__(self, cfg: Candidate, *, rngs: nnx.Rngs):
        self.encoder = Encoder(cfg, rngs=rngs)
        self.decoder = Decoder(cfg, rngs=rngs)


def as_float(videos: np.ndarray) -> np.ndarray:
    return videos.astype(np.float32) / 127.5 - 1


def decibels(mse: float) -> float:
    return float(10 * np.log10(4 / mse))


def run(
    name: str, seed: int, train: np.ndarray, heldout: np.ndarray, seconds: float
) -> dict[str, Any]:
    """Train one candidate and measure it."""
    cfg = CANDIDATES[name]
    folded = np.asarray(fold(jnp.asarray(as_float(train[:512])), SPATIAL))
    codec = linear.fit(folded, CHANNELS)

    def loss_fn(params: Any, batch: Any, key: Array) -> tuple[Array, dict]:
        video = batch["video"].astype(jnp.float32) / 127.5 - 1
        vae = network.module(Autoencoder, cfg, params)
        latents = vae.encoder(video)
        noisy = latents + 0.02 * jax.random.normal(key, latents.shape)
        error = vae.decoder(noisy) - video
        loss = jnp.mean(jnp.square(error)) + 0.1 * jnp.mean(jnp.abs(error))
        loss = loss + 1e-5 * jnp.mean(jnp.square(latents))
        return loss, {"clips": jnp.float32(len(video))}

    plan = runner.Plan(
        make=Autoencoder,
        model=cfg,
        init=lambda key: linear.start_at(network.init(Autoencoder, cfg, key), codec),
        make_loss=lambda mesh: loss_fn,
        optimizer=OptimizerConfig(rate=1.5e-3, matrix_rate=2e-2, warmup=20, ns_steps=3),
        loop=LoopConfig(batch_size=BATCH, seed=seed),
    )
    mesh = meshes.make_mesh(meshes.MeshConfig(), jax.devices()[:1])
    built = runner.build(plan, mesh)
    state = built.fresh()
    batches = loader.batches(
        Columns({"video": train}), batch_size=BATCH, seed=seed, host=hosts.place()
    )
    batch = meshes.put_batch(mesh, next(batches))
    step = built.step_fn.lower(state, batch, 0.0).compile()
    state, metrics = step(state, batch, 0.0)
    jax.block_until_ready(metrics)
    began, steps = time.process_time(), 1
    while (progress := (time.process_time() - began) / seconds) < 1:
        state, metrics = step(state, meshes.put_batch(mesh, next(batches)), progress)
        steps += 1
    params = jax.device_get(state.ema)

    @jax.jit
    def reconstruct(params: Any, video: Array) -> Array:
        vae = network.module(Autoencoder, cfg, params)
        return vae.decoder(vae.encoder(video))

    errors = []
    for start in range(0, len(heldout), 16):
        video = as_float(heldout[start : start + 16])
        found = np.clip(reconstruct(params, video), -1, 1)
        errors.append(np.mean(np.square(found - video)))
    decode = jax.jit(lambda p, z: network.module(Autoencoder, cfg, p).decoder(z))
    cost: Any = decode.lower(params, jnp.zeros((1, 4, 8, 8, CHANNELS))).cost_analysis()
    best = codec.reconstruct(np.asarray(fold(jnp.asarray(as_float(heldout)), SPATIAL)))
    truth = np.asarray(fold(jnp.asarray(as_float(heldout)), SPATIAL))
    return {
        "name": name,
        "seed": seed,
        "psnr": decibels(float(np.mean(errors))),
        "linear_psnr": decibels(float(np.mean(np.square(np.clip(best, -1, 1) - truth)))),
        "steps": steps,
        "params": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "decode_mflop_a_frame": cost["flops"] / FRAMES / 1e6,
        "seconds": seconds,
    }


def main() -> int:
    """Deal all runs out to the cores, or be the one that works on a core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--film", type=Path, default=Path("runs/vae_film"), help="its clips")
    parser.add_argument("--out", type=Path, default=Path("runs/vae_architectures"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--names", default=",".join(CANDIDATES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = [(n, int(s)) for s in args.seeds.split(",") for n in args.names.split(",")]
    cores = sorted(os.sched_getaffinity(0))
    if args.core is not None:
        work(args, wanted[cores.index(args.core) :: len(cores)], args.core)
        return 0
    if not (args.out / CLIPS).exists():
        film_clips.prepare(args.film, lambda line: print(line, file=sys.stderr))
        train, heldout = (
            film_clips.load(args.film / "clips", split, most)
            for split, most in (("train", 2048), ("heldout", 64))
        )
        np.savez(args.out / CLIPS, train=train, heldout=heldout)
    again = [sys.executable, "-m", "benchmarks.vae_architectures", *sys.argv[1:]]
    workers = [subprocess.Popen([*again, "--core", str(core)]) for core in cores]
    failed = any([worker.wait() for worker in workers])
    print(table(read(args.out)))
    return int(failed)


def work(args: argparse.Namespace, wanted: list[tuple[str, int]], core: int) -> None:
    """Do what of `wanted` is not done, on one core."""
    os.sched_setaffinity(0, {core})
    stored = np.load(args.out / CLIPS)
    done = {(f["name"], f["seed"]) for f in read(args.out) if f["seconds"] == args.seconds}
    for name, seed in wanted:
        if (name, seed) not in done:
            figures = run(name, seed, stored["train"], stored["heldout"], args.seconds)
            line = json.dumps(figures)
            with (args.out / RESULTS).open("a") as file:
                file.write(line + "\n")
            print(line, flush=True)


def read(out: Path) -> list[dict[str, Any]]:
    path = out / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(results: Iterable[dict[str, Any]]) -> str:
    """Mean over seeds, with the largest and the smallest of them."""
    lines = ["name               dB over linear (least, most)   steps  M params  MFLOP a frame"]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for figures in results:
        grouped.setdefault(figures["name"], []).append(figures)
    for name, runs in grouped.items():
        gains = [f["psnr"] - f["linear_psnr"] for f in runs]
        steps, size, cost = (
            np.mean([f[key] for f in runs]) for key in ("steps", "params", "decode_mflop_a_frame")
        )
        spread = f"{np.mean(gains):+.3f} ({min(gains):+.3f}, {max(gains):+.3f}) of {len(gains)}"
        lines.append(f"{name:<18} {spread}  {steps:8.0f}  {size / 1e6:8.2f}  {cost:8.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
