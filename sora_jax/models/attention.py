"""Attention: one `attend` behind which the backends stand, and the rule of who may look at whom.

The rule is never written out for a whole row: tokens carry their clip's number (`segment`) and
their time, keys carry theirs and the time span in which they count, and a backend makes what it
needs of it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from sora_jax.arrays import Array, Float, Int

NEVER = -1e9
SPAN_PENALTY = -4.0  # logits taken from captions whose span does not cover the token
CHUNK_LOGITS = 2**22  # logits that the XLA backend holds at once, about


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Queries:
    """Tokens that look."""

    q: Any  # B L N K
    segment: Any  # B L: they see keys of the same segment
    seconds: Any = None  # B L: their time in their clip, for keys with spans


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Keys:
    """What is looked at."""

    k: Any  # B M N K
    v: Any  # B M N K
    segment: Any  # B M
    span: Any = None  # B M 2: [start, end) seconds in which they count in full; None: always


type Attend = Callable[[Queries, Keys, Keys | None], Array]


def attend(queries: Queries, keys: Keys, text: Keys | None = None) -> Float[Array, "B L N K"]:
    """Scaled dot-product attention in one softmax (float32) over `keys` and `text`.

    The reference, by XLA: queries are taken in chunks, so that neither the logits nor the rule of
    a whole row are ever in memory, not on the way back either.
    """
    groups = [keys] if text is None else [keys, text]
    k = jnp.concatenate([group.k for group in groups], 1)
    v = jnp.concatenate([group.v for group in groups], 1)

    def some(part: Queries) -> Array:
        logits = jnp.einsum("blnk,bmnk->bnlm", part.q, k, preferred_element_type=jnp.float32)
        rule = jnp.concatenate([bias(part, group) for group in groups], -1)
        weights = jax.nn.softmax(logits * part.q.shape[-1] ** -0.5 + rule[:, None], -1)
        return jnp.einsum("bnlm,bmnk->blnk", weights.astype(v.dtype), v)

    rows, length, heads, _ = queries.q.shape
    num = _num_chunks(length, rows * heads * k.shape[1])
    if num == 1:
        return checkpoint_name(some(queries), "attention")

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(rows, num, length // num, *x.shape[2:]), 1, 0)

    out = jax.lax.map(jax.checkpoint(some), jax.tree.map(split, queries))
    return checkpoint_name(jnp.moveaxis(out, 0, 1).reshape(queries.q.shape), "attention")


def bias(queries: Queries, keys: Keys) -> Float[Array, "B L M"]:
    """What is added to the logits of each pair."""
    rule = segment_bias(queries.segment, keys.segment)
    return rule if keys.span is None else rule + span_bias(queries.seconds, keys.span)


def segment_bias(query: Int[Array, "B L"], key: Int[Array, "B M"]) -> Float[Array, "B L M"]:
    """0 within a segment, `NEVER` across: clips that share a row cannot see each other."""
    return jnp.where(query[:, :, None] == key[:, None, :], 0.0, NEVER)


def span_bias(seconds: Float[Array, "B L"], span: Float[Array, "B S 2"]) -> Float[Array, "B L S"]:
    """0 for text whose [start, end) covers the token's time, `SPAN_PENALTY` for other text."""
    start, end = span[:, None, :, 0], span[:, None, :, 1]
    covered = (seconds[..., None] >= start) & (seconds[..., None] < end)
    return jnp.where(covered, 0.0, SPAN_PENALTY)


def _num_chunks(length: int, per_query: int) -> int:
    """The least number of equal chunks of a row in which the logits stay below CHUNK_LOGITS."""
    wanted = -(-length * per_query // CHUNK_LOGITS)
    return next((n for n in range(wanted, length + 1) if length % n == 0), length)
