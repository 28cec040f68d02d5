"""The train step of the transformer by this project, as `benchmarks/torch_step.py` has it."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.canvas import META, Canvas
from sora_jax.models import network
from sora_jax.models.dit import CanvasDiT, DiTConfig
from sora_jax.train import flops, optimizer
from sora_jax.train.step import make_gradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """A batch: rows of tokens in latent frames, with text."""

    rows: int = 2
    tokens: int = 1024
    frames: int = 16
    text: int = 64
    values: int = 64


class Maker:
    """`CanvasDiT` for a batch, as `network.graph` makes modules."""

    def __new__(cls, cfg: tuple[DiTConfig, Work], *, rngs):
        return CanvasDiT(cfg[0], cfg[1].values, 16, rngs=rngs)


def canvas(work: Work) -> Canvas:
    """One clip a row that fills it, under one caption, nothing known."""
    rows, length = work.rows, work.tokens
    frame = np.repeat(np.arange(work.frames), length // work.frames)
    place = np.random.default_rng(0).uniform(-1, 1, (length, 2))
    position = np.concatenate([frame[:, None] / 2, place], 1)

    def every(x, dtype) -> Any:
        return jnp.asarray(np.broadcast_to(x, (rows, *np.shape(x))), dtype)

    return Canvas(
        cond=every(np.zeros((length, work.values)), jnp.float32),
        known=every(np.zeros((length, 16)), jnp.float32),
        position=every(position, jnp.float32),
        role=every(np.zeros(length), jnp.int32),
        segment=every(np.zeros(length), jnp.int32),
        frame=every(frame, jnp.int32),
        frame_segment=every(np.zeros(work.frames), jnp.int32),
        frame_seconds=every(np.arange(work.frames) / 2, jnp.float32),
        meta=every(np.zeros((work.frames, len(META))), jnp.float32),
        text=every(np.full(work.text, 2), jnp.int32),
        text_segment=every(np.zeros(work.text), jnp.int32),
        text_span=every(np.tile([0.0, 1e6], (work.text, 1)), jnp.float32),
    )


def make_step(cfg: DiTConfig, work: Work):
    """(compiled step, its state and batch, FLOPs of its matrix products)."""
    tx = optimizer.make_optimizer(optimizer.OptimizerConfig(name="adamw", rate=1e-4))

    def loss_fn(params, batch, key):
        del key
        module = network.module(Maker, (cfg, work), params)
        out = module(batch["x"], batch["sigma"], batch["canvas"], batch["text"])
        return jnp.mean(jnp.square(out - batch["target"])), {"clips": jnp.float32(work.rows)}

    gradient = make_gradient(loss_fn)

    def step(state, batch):
        params, opt_state = state
        loss, _, grads = gradient(params, batch, jax.random.key(0))
        updates, opt_state = tx.update(grads, opt_state, params)
        return (jax.tree.map(jnp.add, params, updates), opt_state), loss

    def start(key):
        params = network.init(Maker, (cfg, work), key)
        # Not as training starts, where what is added to a row is 0.
        params = jax.tree.map(lambda x: x + 0.02, params)
        return params, tx.init(params)

    draw = np.random.default_rng(1).normal
    shape = (work.rows, work.tokens, work.values)
    batch = {
        "x": jnp.asarray(draw(size=shape), jnp.float32),
        "target": jnp.asarray(draw(size=shape), jnp.float32),
        "sigma": jnp.full((work.rows, work.frames), 0.6),
        "text": jnp.asarray(draw(size=(work.rows, work.text, cfg.width)), cfg.dtype),
        "canvas": canvas(work),
    }
    state = jax.jit(start)(jax.random.key(0))
    products = flops.matmul_flops(step, state, batch)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    return compiled, state, batch, products


@dataclasses.dataclass
class Step:
    """A compiled step that can be timed again and again."""

    compiled: Any
    state: Any
    batch: Any
    products: int  # FLOPs of its matrix products

    def best(self, seconds: float) -> float:
        """Seconds of the best step within the time given, of two at least."""
        times: list[float] = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop or len(times) < 2:
            start = time.perf_counter()
            self.state, loss = self.compiled(self.state, self.batch)
            jax.block_until_ready((self.state, loss))
            times.append(time.perf_counter() - start)
        assert np.isfinite(float(loss)), loss
        return min(times)


def prepare(cfg: DiTConfig, work: Work) -> Step:
    """Compiled, and run once."""
    step = Step(*make_step(cfg, work))
    step.best(0.0)
    return step
