"""Attention: one `attend`, and the bias that says which token may look at which."""

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Int

NEVER = -1e9
SPAN_PENALTY = -4.0  # logits taken from captions whose span does not cover the token


def attend(
    q: Float[Array, "B L N K"],
    k: Float[Array, "B M N K"],
    v: Float[Array, "B M N K"],
    bias: Float[Array, "B L M"],
) -> Float[Array, "B L N K"]:
    """Scaled dot-product attention, softmax in float32; `bias` is added to the logits."""
    logits = jnp.einsum("blnk,bmnk->bnlm", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * q.shape[-1] ** -0.5 + bias[:, None], -1)
    return jnp.einsum("bnlm,bmnk->blnk", weights.astype(v.dtype), v)


def segment_bias(query: Int[Array, "B L"], key: Int[Array, "B M"]) -> Float[Array, "B L M"]:
    """0 within a segment, `NEVER` across: clips that share a row cannot see each other."""
    return jnp.where(query[:, :, None] == key[:, None, :], 0.0, NEVER)


def span_bias(seconds: Float[Array, "B L"], span: Float[Array, "B S 2"]) -> Float[Array, "B L S"]:
    """0 for text whose [start, end) covers the token's time, `SPAN_PENALTY` for other text."""
    start, end = span[:, None, :, 0], span[:, None, :, 1]
    covered = (seconds[..., None] >= start) & (seconds[..., None] < end)
    return jnp.where(covered, 0.0, SPAN_PENALTY)
