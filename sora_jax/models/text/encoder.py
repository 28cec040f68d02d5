"""The small text encoder that is trained with the model: token ids on a canvas -> states B S D."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax.arrays import Array, Float, Int
from sora_jax.canvas import Canvas
from sora_jax.models import attention
from sora_jax.models.layers import Dense, fourier, rms_norm, squared_relu
from sora_jax.models.stack import scan_blocks, stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    width: int
    depth: int
    num_heads: int
    vocab_size: int = 0  # 0: as many as the tokenizer has, filled in when a run starts
    max_tokens: int = 32  # of the captions of one clip together
    dtype: str = "bfloat16"


class TextBlock(nnx.Module):
    """Attention within a caption, then an MLP."""

    def __init__(self, cfg: TextConfig, *, rngs: nnx.Rngs):
        def dense(size, names):
            return Dense(size, names, rngs=rngs, dtype=cfg.dtype)

        self.qkv = dense((cfg.width, 3 * cfg.width), ("embed", "heads"))
        self.out = dense((cfg.width, cfg.width), ("heads", "embed"))
        self.up = dense((cfg.width, 2 * cfg.width), ("embed", "mlp"))
        self.down = dense((2 * cfg.width, cfg.width), ("mlp", "embed"))
        self.num_heads = cfg.num_heads

    def __call__(self, x: Array, caption: Int[Array, "B S"]) -> Array:
        """`caption` numbers the captions of a row: words see their own."""
        q, k, v = (
            part.reshape(*x.shape[:2], self.num_heads, -1)
            for part in jnp.split(self.qkv(rms_norm(x)), 3, -1)
        )
        queries = attention.Queries(q=rms_norm(q), segment=caption)
        keys = attention.Keys(k=rms_norm(k), v=v, segment=caption)
        x = x + self.out(attention.attend(queries, keys).reshape(x.shape))
        return x + self.down(squared_relu(self.up(rms_norm(x))))


class SmallTextEncoder(nnx.Module):
    """Word embeddings and a few blocks; each caption of a row is encoded alone."""

    def __init__(self, cfg: TextConfig, width: int, *, rngs: nnx.Rngs):
        """`width` is that of the states it gives."""
        table = jax.random.normal(rngs.params(), (cfg.vocab_size, cfg.width))
        self.embedding = nnx.Param(table, out_sharding=(None, "embed"))
        self.place = Dense((16, cfg.width), (None, "embed"), rngs=rngs, dtype=cfg.dtype)
        self.blocks = stack(lambda rngs: TextBlock(cfg, rngs=rngs), cfg.depth, rngs)
        if width != cfg.width:
            self.widen = Dense((cfg.width, width), ("embed", None), rngs=rngs, dtype=cfg.dtype)
        self.dtype = cfg.dtype

    def __call__(self, canvas: Canvas) -> Float[Array, "B S D"]:
        same = canvas.text_segment[:, :, None] == canvas.text_segment[:, None, :]
        same &= (canvas.text_span[:, :, None] == canvas.text_span[:, None, :]).all(-1)
        same &= (canvas.text != 0)[:, None, :]
        first = jnp.argmax(same, -1)  # word of its caption: the caption's number
        place = jnp.arange(canvas.text.shape[1]) - first
        x = self.embedding[...][canvas.text].astype(self.dtype)
        x = x + self.place(fourier(place.astype(jnp.float32), 2.0, 64.0, 8))
        caption = jnp.where(canvas.text == 0, -1, first)  # padding sees padding, and no one sees it
        x = rms_norm(scan_blocks(lambda block, x: block(x, caption), self.blocks, x))
        return self.widen(x) if hasattr(self, "widen") else x
