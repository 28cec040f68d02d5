"""Autoencoders that differ in how they see time and space, trained for the same time on one core.

    taskset -c 1 python -m benchmarks.vae_architectures SHARDS OUT.jsonl NAME[,NAME] SEED[,SEED]

Appends to OUT.jsonl the PSNR on held-out clips after SECONDS of training (compiling apart), the
steps that were made, parameters, and the FLOPs of decoding one frame. Clips are crops of 64x64, 16
frames; every sixth shot is held out. All start at the linear codec of 16 channels.
"""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from sora_jax.arrays import Array
from sora_jax.data import loader, records
from sora_jax.data.records import Columns
from sora_jax.export.bundle import flatten
from sora_jax.models import network
from sora_jax.models.layers import Conv, Dense, rms_norm
from sora_jax.models.vae import linear
from sora_jax.models.vae.vae import fold, unfold
from sora_jax.sharding import hosts
from sora_jax.sharding import mesh as meshes
from sora_jax.train import runner
from sora_jax.train.loop import LoopConfig
from sora_jax.train.optimizer import OptimizerConfig

SECONDS, BATCH, SIZE, FRAMES = 60.0, 2, 64, 16
CHANNELS, SPATIAL, K = 16, 8, 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    mixing: str = "folded"  # folded (frames in channels) | factorised | full
    front: str = "patch"  # patch | haar
    patch: int = 4
    widths: tuple[int, ...] = (128, 192)
    blocks: int = 1
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

    def __call__(self, x: Array) -> Array:
        if self.conv is not None:
            flat = rearrange(jax.nn.silu(rms_norm(x)), "b n k h w c -> (b n k) h w c")
            x = x + self.conv(flat).reshape(x.shape)
        if self.time is not None:
            x = x + self.time(jax.nn.silu(rms_norm(x)))
        return x + self.down(jax.nn.silu(self.up(rms_norm(x))))


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
        return self.output(rms_norm(x)).astype(jnp.float32)


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


def clips(shards: Path) -> tuple[np.ndarray, np.ndarray]:
    """Crops to train on and crops of other shots, uint8 N T H W 3."""
    rng = np.random.default_rng(0)
    splits = [records.open_split(shards, name) for name in ("train", "heldout")]
    shots = sorted((s.ids[i], number, i) for number, s in enumerate(splits) for i in range(len(s)))
    train: list[np.ndarray] = []
    heldout: list[np.ndarray] = []
    for place, (_, number, i) in enumerate(shots):
        video = records.decode(splits[number][i])
        for start in range(0, len(video) - FRAMES + 1, FRAMES):
            for _ in range(2):
                y, x = (rng.integers(0, side - SIZE + 1) for side in video.shape[1:3])
                crop = video[start : start + FRAMES, y : y + SIZE, x : x + SIZE]
                (heldout if place % 6 == 3 else train).append(crop)
    chosen = rng.permutation(len(heldout))[:64]
    return np.stack(train), np.stack(heldout)[chosen]


def as_float(videos: np.ndarray) -> np.ndarray:
    return videos.astype(np.float32) / 127.5 - 1


def decibels(mse: float) -> float:
    return float(10 * np.log10(4 / mse))


def run(name: str, seed: int, train: np.ndarray, heldout: np.ndarray) -> tuple[dict, Any]:
    """Train one candidate and measure it: figures and parameters."""
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
    began, steps = time.perf_counter(), 1
    while (progress := (time.perf_counter() - began) / SECONDS) < 1:
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
        "seconds": SECONDS,
        "finite": bool(np.isfinite(float(metrics["loss"]))),
    }, params


def main() -> int:
    shards, out, names, seeds = sys.argv[1:]
    cache = Path(out).with_suffix(".npz")
    if not cache.exists():
        train, heldout = clips(Path(shards))
        np.savez(cache, train=train, heldout=heldout)
    stored = np.load(cache)
    train, heldout = stored["train"], stored["heldout"]
    for seed in map(int, seeds.split(",")):
        for name in names.split(","):
            figures, params = run(name, seed, train, heldout)
            np.savez(cache.with_suffix(f".{name}.{seed}.npz"), **flatten(params))
            with Path(out).open("a") as file:
                file.write(json.dumps(figures) + "\n")
            print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
