"""The Canvas DiT: a spacetime transformer over packed tokens (Peebles & Xie 2023, and the design).

Self-attention sees the row's own tokens and the text tokens of the same clip as further keys and
values. Modulation (adaLN-zero) is computed once for each latent frame and gathered by the tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax.arrays import Array, Float
from sora_jax.canvas import META, Canvas
from sora_jax.models import attention, rope
from sora_jax.models.layers import Dense, fourier, rms_norm, squared_relu
from sora_jax.models.stack import scan_blocks, stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiTConfig:
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int = 4
    patch: tuple[int, int, int] = (1, 1, 1)  # latent frames, rows, columns
    # Of rotary positions, in seconds and mean sides of the picture: the shortest is two tokens, a
    # shorter one would give several tokens the same angle.
    shortest_periods: tuple[float, float, float] = (1.0, 0.5, 0.5)
    longest_periods: tuple[float, float, float] = (16.0, 8.0, 8.0)
    dtype: str = "bfloat16"  # of activations and products; parameters and norms are float32
    remat: bool = False
    unroll: int = 1  # layers in one turn of the loop over them: faster where layers are small

    def __post_init__(self):
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(
                f"width {self.width} over num_heads {self.num_heads} must give an even head width"
            )


class SelfAttention(nnx.Module):
    """Attention over the row and its text, with QK norm and rotary positions."""

    def __init__(self, cfg: DiTConfig, *, rngs: nnx.Rngs):
        square = (cfg.width, cfg.width)
        self.qkv = Dense((cfg.width, 3 * cfg.width), ("embed", "heads"), rngs=rngs, dtype=cfg.dtype)
        self.text_kv = Dense(
            (cfg.width, 2 * cfg.width), ("embed", "heads"), rngs=rngs, dtype=cfg.dtype
        )
        self.out = Dense(square, ("heads", "embed"), rngs=rngs, dtype=cfg.dtype, scale=0.0)
        self.num_heads = cfg.num_heads

    def __call__(self, x: Array, text: Array, rotation: rope.Rotation, bias: Array) -> Array:
        q, k, v = jnp.split(self.qkv(x), 3, -1)
        text_k, text_v = jnp.split(self.text_kv(text), 2, -1)
        q, k, v, text_k, text_v = (
            part.reshape(*part.shape[:2], self.num_heads, -1) for part in (q, k, v, text_k, text_v)
        )
        q, k = rope.rotate(rms_norm(q), rotation), rope.rotate(rms_norm(k), rotation)
        # QK norm bounds the logits by sqrt(K); a sharper softmax needs a longer query.
        q = q * q.shape[-1] ** 0.25
        k = jnp.concatenate([k, rms_norm(text_k)], 1)
        v = jnp.concatenate([v, text_v], 1)
        out = attention.attend(q, k, v, bias)
        return self.out(out.reshape(x.shape))


class Block(nnx.Module):
    """Modulated attention and modulated MLP (adaLN-zero)."""

    def __init__(self, cfg: DiTConfig, *, rngs: nnx.Rngs):
        hidden = cfg.mlp_ratio * cfg.width
        # Gates are open and what they let through starts at 0: matrices learn from the first step.
        gates = jnp.zeros((6, cfg.width)).at[jnp.array([2, 5])].set(1.0)
        self.modulation = nnx.Param(gates, out_sharding=(None, "embed"))
        self.attention = SelfAttention(cfg, rngs=rngs)
        self.up = Dense((cfg.width, hidden), ("embed", "mlp"), rngs=rngs, dtype=cfg.dtype)
        self.down = Dense(
            (hidden, cfg.width), ("mlp", "embed"), rngs=rngs, dtype=cfg.dtype, scale=0.0
        )

    def __call__(self, x: Array, shared: Float[Array, "B L _"], text, rotation, bias) -> Array:
        """`shared` is the modulation (6D) that all blocks have in common; each adds its own."""
        own = self.modulation[...].reshape(-1).astype(shared.dtype)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.split(shared + own, 6, -1)
        hidden = rms_norm(x) * (1 + scale_a) + shift_a
        x = x + gate_a * self.attention(hidden, text, rotation, bias)
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
    ) -> Float[Array, "B L P"]:
        dtype, seconds = self.cfg.dtype, canvas.position[..., 0]
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

        # Once for each latent frame, then handed to its tokens.
        pick = jax.nn.one_hot(canvas.frame, sigma.shape[1], dtype=dtype)
        modulation = self.modulation(self._level(sigma, canvas, text))
        modulation = jnp.einsum("blf,bfd->bld", pick, modulation)
        width = self.cfg.width
        shared, shift, scale = jnp.split(modulation, [6 * width, 7 * width], -1)

        to_text = attention.segment_bias(canvas.segment, canvas.text_segment)
        to_text = to_text + attention.span_bias(seconds, canvas.text_span)
        bias = jnp.concatenate(
            [
                attention.segment_bias(canvas.segment, canvas.segment),
                jnp.where(canvas.text[:, None] == 0, attention.NEVER, to_text),
            ],
            -1,
        )
        rotation = rope.rotation(canvas.position, width // self.cfg.num_heads, periods)

        def apply(block, x):
            return block(x, shared, text, rotation, bias)

        x = scan_blocks(apply, self.blocks, x, remat=self.cfg.remat, unroll=self.cfg.unroll)
        return self.output(rms_norm(x) * (1 + scale) + shift).astype(jnp.float32)

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
