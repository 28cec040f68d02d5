"""The Canvas DiT: a spacetime transformer over packed tokens (Peebles & Xie 2023, and the design).

Tokens see the tokens and the text of their own clip: in one softmax (`joined`), or each in its own
(`cross`, as in Wan 2.1). Modulation (adaLN-zero) is computed once for each latent frame; tokens
fetch theirs where it is used, so that no row of modulations is ever in memory.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax.arrays import Array, Float
from sora_jax.canvas import META, Canvas
from sora_jax.models import attention, rope
from sora_jax.models.attention import Keys, Queries
from sora_jax.models.layers import Dense, fourier, rms_norm, squared_relu
from sora_jax.models.layout import ONE_DEVICE, Layout
from sora_jax.models.stack import Remat, scan_blocks, stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiTConfig:
    width: int
    depth: int
    num_heads: int
    mlp_width: int = 0  # 0: four times the width
    text_attention: Literal["joined", "cross"] = "joined"
    patch: tuple[int, int, int] = (1, 1, 1)  # latent frames, rows, columns
    # Of rotary positions, in seconds and mean sides of the picture: the shortest is two tokens, a
    # shorter one would give several tokens the same angle.
    shortest_periods: tuple[float, float, float] = (1.0, 0.5, 0.5)
    longest_periods: tuple[float, float, float] = (16.0, 8.0, 8.0)
    dtype: str = "bfloat16"  # of activations and products; parameters and norms are float32
    remat: Remat = "none"  # what is kept for the way back: see `stack.scan_blocks`
    unroll: int = 1  # layers in one turn of the loop over them: faster where layers are small

    def __post_init__(self):
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(
                f"width {self.width} over num_heads {self.num_heads} must give an even head width"
            )


_NO_CLIP = -3  # of padding words: tokens have segments from 0, or -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What every block sees beside the tokens' states."""

    modulation: Any  # B F 6D: what all blocks have in common; each adds its own
    pick: Any  # B L F: one-hot, each token's latent frame
    rotation: rope.Rotation
    segment: Any  # B L
    seconds: Any  # B L
    text: Any  # B S D
    text_segment: Any  # B S: of words that are not padding, else a number that no clip has
    text_span: Any  # B S 2


class SelfAttention(nnx.Module):
    """Attention within the clip, with QK norm and rotary positions; `joined` sees text too."""

    def __init__(self, cfg: DiTConfig, *, rngs: nnx.Rngs):
        square = (cfg.width, cfg.width)
        self.qkv = Dense((cfg.width, 3 * cfg.width), ("embed", "heads"), rngs=rngs, dtype=cfg.dtype)
        if cfg.text_attention == "joined":
            self.text_kv = _text_kv(cfg, rngs)
        self.out = Dense(square, ("heads", "embed"), rngs=rngs, dtype=cfg.dtype, scale=0.0)
        self.num_heads = cfg.num_heads

    def __call__(self, x: Array, row: Row, layout: Layout) -> Array:
        q, k, v = _heads(self.qkv(x), 3, self.num_heads)
        q = _sharpen(rope.rotate(rms_norm(q), row.rotation))
        k = rope.rotate(rms_norm(k), row.rotation)
        text = _text_keys(self.text_kv, row, self.num_heads) if hasattr(self, "text_kv") else None
        queries = Queries(q=q, segment=row.segment, seconds=row.seconds)
        out = layout.attend(queries, Keys(k=k, v=v, segment=row.segment), text)
        return self.out(out.reshape(x.shape))


class TextAttention(nnx.Module):
    """Attention of the tokens to the words of their clip alone."""

    def __init__(self, cfg: DiTConfig, *, rngs: nnx.Rngs):
        square = (cfg.width, cfg.width)
        self.q = Dense(square, ("embed", "heads"), rngs=rngs, dtype=cfg.dtype)
        self.text_kv = _text_kv(cfg, rngs)
        self.out = Dense(square, ("heads", "embed"), rngs=rngs, dtype=cfg.dtype, scale=0.0)
        self.num_heads = cfg.num_heads

    def __call__(self, x: Array, row: Row, layout: Layout) -> Array:
        (q,) = _heads(self.q(x), 1, self.num_heads)
        queries = Queries(q=_sharpen(rms_norm(q)), segment=row.segment, seconds=row.seconds)
        out = layout.attend_text(queries, _text_keys(self.text_kv, row, self.num_heads))
        return self.out(out.reshape(x.shape))


class Block(nnx.Module):
    """Modulated attention, attention to text where it is apart, modulated MLP (adaLN-zero)."""

    def __init__(self, cfg: DiTConfig, *, rngs: nnx.Rngs):
        hidden = cfg.mlp_width or 4 * cfg.width
        # Gates are open and what they let through starts at 0: matrices learn from the first step.
        gates = jnp.zeros((6, cfg.width)).at[jnp.array([2, 5])].set(1.0)
        self.modulation = nnx.Param(gates, out_sharding=(None, "embed"))
        self.attention = SelfAttention(cfg, rngs=rngs)
        if cfg.text_attention == "cross":
            self.text_attention = TextAttention(cfg, rngs=rngs)
        self.up = Dense((cfg.width, hidden), ("embed", "mlp"), rngs=rngs, dtype=cfg.dtype)
        self.down = Dense(
            (hidden, cfg.width), ("mlp", "embed"), rngs=rngs, dtype=cfg.dtype, scale=0.0
        )

    def __call__(self, x: Float[Array, "B L D"], row: Row, layout: Layout) -> Array:
        own = self.modulation[...].reshape(-1).astype(row.modulation.dtype)
        per_frame = jnp.split(row.modulation + own, 6, -1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            fetch(row.pick, part) for part in per_frame
        )
        hidden = rms_norm(x) * (1 + scale_a) + shift_a
        x = x + gate_a * self.attention(hidden, row, layout)
        if hasattr(self, "text_attention"):
            x = x + self.text_attention(rms_norm(x), row, layout)
        hidden = rms_norm(x) * (1 + scale_m) + shift_m
        return x + gate_m * self.down(squared_relu(self.up(hidden)))


class CanvasDiT(nnx.Module):
    """(x_in, sigma of each latent frame, canvas, text states) -> raw output, B L P."""

    def __init__(self, cfg: DiTConfig, patch_values: int, known_bits: int, *, rngs: nnx.Rngs):
        def dense(size, names, scale=1.0):
            return Dense(size, names, rngs=rngs, dtype=cfg.dtype, scale=scale)

        self.input = dense((patch_values, cfg.width), (None, "embed"))
        # Zero at the start, so that a text-to-video checkpoint upgrades without loss.
        self.cond = dense((patch_values, cfg.width), (None, "embed"), scale=0.0)
        self.known = dense((known_bits, cfg.width), (None, "embed"), scale=0.0)
        self.position = dense((3 * 16, cfg.width), (None, "embed"))
        role = 0.02 * jax.random.normal(rngs.params(), (3, cfg.width))
        self.role = nnx.Param(role, out_sharding=(None, "embed"))
        self.sigma = dense((64, cfg.width), (None, "embed"))
        self.meta = dense((len(META), cfg.width), (None, "embed"))
        self.text_summary = dense((cfg.width, cfg.width), ("embed", None))
        self.level = dense((cfg.width, cfg.width), ("embed", None))
        self.blocks = stack(lambda rngs: Block(cfg, rngs=rngs), cfg.depth, rngs)
        self.modulation = dense((cfg.width, 8 * cfg.width), ("embed", None), scale=0.0)
        self.output = dense((cfg.width, patch_values), ("embed", None), scale=0.0)
        self.cfg = cfg

    def __call__(
        self,
        x_in: Float[Array, "B L P"],
        sigma: Float[Array, "B F"],
        canvas: Canvas,
        text: Float[Array, "B S D"],
        layout: Layout = ONE_DEVICE,
    ) -> Float[Array, "B L P"]:
        dtype, width = self.cfg.dtype, self.cfg.width
        periods = tuple(zip(self.cfg.shortest_periods, self.cfg.longest_periods, strict=True))
        place = jnp.concatenate(
            [
                fourier(canvas.position[..., axis], low, high, 8)
                for axis, (low, high) in enumerate(periods)
            ],
            -1,
        )
        x = self.input(x_in) + self.position(place) + self.role[...][canvas.role].astype(dtype)
        x = x + self.cond(canvas.cond) + self.known(canvas.known)

        # Once for each latent frame; its tokens fetch it.
        modulation = self.modulation(self._level(sigma, canvas, text))
        shared, shift, scale = jnp.split(modulation, [6 * width, 7 * width], -1)
        row = Row(
            modulation=shared,
            pick=jax.nn.one_hot(canvas.frame, sigma.shape[1], dtype=dtype),
            rotation=rope.rotation(canvas.position, width // self.cfg.num_heads, periods),
            segment=canvas.segment,
            seconds=canvas.position[..., 0],
            text=text,
            text_segment=jnp.where(canvas.text == 0, _NO_CLIP, canvas.text_segment),
            text_span=canvas.text_span,
        )

        def apply(block, x):
            return layout.tokens(layout.weights(block)(layout.tokens(x), row, layout))

        x = scan_blocks(apply, self.blocks, x, remat=self.cfg.remat, unroll=self.cfg.unroll)
        hidden = rms_norm(x) * (1 + fetch(row.pick, scale)) + fetch(row.pick, shift)
        return self.output(hidden).astype(jnp.float32)

    def _level(self, sigma: Array, canvas: Canvas, text: Array) -> Float[Array, "B F D"]:
        """What a latent frame is modulated by: noise level, text that covers it, meta values."""
        # Beyond .995 there is nothing to see and training hardly comes, but sampling begins there.
        logit = jnp.log(jnp.clip(sigma, 1e-4, 1.0)) - jnp.log(jnp.clip(1 - sigma, 5e-3, 1.0))
        weight = attention.segment_bias(canvas.frame_segment, canvas.text_segment)
        weight = weight + attention.span_bias(canvas.frame_seconds, canvas.text_span)
        weight = weight + jnp.where(canvas.text[:, None] == 0, attention.NEVER, 0.0)
        summary = jnp.einsum("bfs,bsd->bfd", jax.nn.softmax(weight, -1).astype(text.dtype), text)
        level = self.sigma(fourier(logit, 2.0, 40.0, 32)) + self.text_summary(summary)
        return jax.nn.silu(self.level(jax.nn.silu(level + self.meta(canvas.meta))))


def fetch(pick: Float[Array, "B L F"], frames: Float[Array, "B F D"]) -> Float[Array, "B L D"]:
    """Each token's row of a table of latent frames: a product, whose gradient is one too."""
    return jnp.einsum("blf,bfd->bld", pick, frames)


def _text_kv(cfg: DiTConfig, rngs: nnx.Rngs) -> Dense:
    return Dense((cfg.width, 2 * cfg.width), ("embed", "heads"), rngs=rngs, dtype=cfg.dtype)


def _text_keys(text_kv: Dense, row: Row, num_heads: int) -> Keys:
    k, v = _heads(text_kv(row.text), 2, num_heads)
    return Keys(k=rms_norm(k), v=v, segment=row.text_segment, span=row.text_span)


def _heads(x: Array, parts: int, num_heads: int) -> list[Float[Array, "B L N K"]]:
    return [part.reshape(*x.shape[:2], num_heads, -1) for part in jnp.split(x, parts, -1)]


def _sharpen(q: Array) -> Array:
    """QK norm bounds the logits by sqrt(K); a sharper softmax needs a longer query."""
    return q * q.shape[-1] ** 0.25
