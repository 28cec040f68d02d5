"""Attention: one `attend` behind which the backends stand, and the rule of who may look at whom.

The rule is never written out for a long row: tokens carry their clip's number (`segment`) and
their time, keys carry theirs and the time span in which they count, and a backend makes what it
needs of it. A backend is a pair of plain functions, so that attention over several devices
(`sharding/context.py`) can be built of any.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from sora_jax.arrays import Array, Float, Int

NEVER = -1e9
SPAN_PENALTY = -4.0  # logits taken from captions whose span does not cover the token
FOREVER = 1e9  # seconds
CHUNK_LOGITS = 2**22  # that the XLA backend holds at once, about; twice as many on the way back
KEPT_LOGITS = 2**24  # of a layer whose weights a lone device keeps for the way back, at most


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


type Groups = tuple[Keys, ...]
type Pair = tuple[Array, Array]


@dataclasses.dataclass(frozen=True)
class Backend:
    """How attention is computed. Values and gradients come apart, so that parts can be joined.

    Both take keys in groups, all in one softmax.
    """

    forward: Callable[[Queries, Groups], tuple[Array, Array]]
    """-> out (B L N K) and the logarithm of the sum of all exponentials (B L N, float32)."""
    backward: Callable[[Queries, Groups, Array, Array, Array], tuple[Array, list[Pair]]]
    """(queries, groups, log sums, sum of out * grad (B L N), grad of out) -> the gradient of q, and
    those of each group's (k, v)."""


type Attend = Callable[[Queries, Keys, Keys | None], Array]


def attend(queries: Queries, keys: Keys, text: Keys | None = None) -> Float[Array, "B L N K"]:
    """Scaled dot-product attention in one softmax (float32) over `keys` and `text`; by XLA."""
    return attend_by(XLA, queries, keys, text)


def attend_alone(queries: Queries, keys: Keys, text: Keys | None = None) -> Array:
    """`attend` of a lone device, where short rows keep their weights for the way back.

    To make them again is one product of seven and a pass over all logits: 15% of attention at 2 x
    1,024 tokens on a CPU. Under remat they are made again all the same, and nothing else is.
    """
    groups = (keys,) if text is None else (keys, text)
    rows, length, heads, _ = queries.q.shape
    if rows * length * heads * sum(group.k.shape[1] for group in groups) > KEPT_LOGITS:
        return _attend(XLA, queries, groups)
    return _attend_keeping(queries, groups)


def attend_by(backend: Backend, queries: Queries, keys: Keys, text: Keys | None = None) -> Array:
    """`attend`, by `backend`."""
    return _attend(backend, queries, (keys,) if text is None else (keys, text))


def _primal(backend: Backend, queries: Queries, groups: Groups) -> Array:
    return backend.forward(queries, groups)[0]


def _forward(backend: Backend, queries: Queries, groups: Groups):
    out, log_sum = named(*backend.forward(queries, groups))
    return out, (queries, groups, out, log_sum)


def _backward(backend: Backend, saved, grad: Array):
    queries, groups, out, log_sum = saved
    dq, pairs = backend.backward(queries, groups, log_sum, overlap(out, grad), grad)
    return gradients(queries, groups, dq, pairs)


_attend = jax.custom_vjp(_primal, nondiff_argnums=(0,))
_attend.defvjp(_forward, _backward)


@jax.custom_vjp
def _attend_keeping(queries: Queries, groups: Groups) -> Array:
    return XLA.forward(queries, groups)[0]


def gradients(queries: Queries, groups: Groups, dq: Array, pairs: list[Pair]):
    """Cotangents for `custom_vjp`: places and times have none."""
    d_queries = Queries(q=dq.astype(queries.q.dtype), segment=None)
    d_groups = tuple(
        Keys(k=dk.astype(keys.k.dtype), v=dv.astype(keys.v.dtype), segment=None)
        for keys, (dk, dv) in zip(groups, pairs, strict=True)
    )
    return d_queries, d_groups


def named(out: Array, sums: Array) -> tuple[Array, Array]:
    """Both under the name by which `stack.scan_blocks` may keep them for the way back."""
    return checkpoint_name(out, "attention"), checkpoint_name(sums, "attention")


def join(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """One softmax of two: (out, log sums) over the keys of both, `out` in float32."""
    total = jnp.logaddexp(first[1], second[1])
    parts = [
        jnp.exp(log_sum - total)[..., None] * out.astype(jnp.float32)
        for out, log_sum in (first, second)
    ]
    return parts[0] + parts[1], total


def overlap(out: Float[Array, "B L N K"], grad: Float[Array, "B L N K"]) -> Float[Array, "B L N"]:
    """Sum of out * grad over each head: what all gradients of a query's logits have in common."""
    return jnp.einsum("blnk,blnk->bln", out, grad, preferred_element_type=jnp.float32)


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


def _xla_forward(queries: Queries, groups: Groups) -> tuple[Array, Array]:
    """Queries in chunks: neither logits nor rules of a whole row are ever in memory."""
    keys = together(groups)
    k, v = _by_head(keys.k), _by_head(keys.v)

    def some(part):
        q, places = part
        logits = jnp.einsum("bnlk,bnmk->bnlm", q, k, **_FLOAT32) + _rule(places, keys)[:, None]
        top = jnp.max(logits, -1, keepdims=True)
        weights = jnp.exp(logits - top)
        total = jnp.sum(weights, -1, keepdims=True)
        out = jnp.matmul(weights.astype(v.dtype), v, **_FLOAT32) / total
        return out.astype(v.dtype), (top + jnp.log(total))[..., 0]

    parts = _chunks((_by_head(_scaled(queries)), _places(queries)), keys, CHUNK_LOGITS)
    out, log_sum = jax.tree.map(_whole, jax.lax.map(some, parts))
    return _by_head(out), jnp.swapaxes(log_sum, 1, 2)


def _xla_backward(queries: Queries, groups: Groups, log_sum, common, grad):
    """A row of logits for each key: so large operands are transposed in one product of five.

    XLA's CPU products are slower with those, and when a small operand or what they give is to be
    transposed, they do it to the large one; hence the barriers. Fewer chunks than forward, since
    each adds to sums of all keys.
    """
    keys = together(groups)
    k, v = _by_head(keys.k), _by_head(keys.v)
    by_value = _turned(k)

    def some(total, part):
        (q, log_sum, common, grad), places = part
        weights = jnp.exp(_logits_by_key(q, k, places, keys) - log_sum[:, :, None])
        dq, dk, dv = _back(weights, common, q, k, v, by_value, grad)
        return (total[0] + dk, total[1] + dv), jnp.swapaxes(dq, 2, 3)

    arrays = tuple(_by_head(x) for x in (_scaled(queries), log_sum, common, grad))
    parts = _chunks((arrays, _places(queries)), keys, 2 * CHUNK_LOGITS)
    zeros = jnp.zeros(k.shape, jnp.float32)
    total, dq = jax.lax.scan(some, (zeros, zeros), parts)
    dq = _by_head(_whole(dq)) * queries.q.shape[-1] ** -0.5
    return dq, apart([_by_head(part) for part in total], groups)


def _keeping_forward(queries: Queries, groups: Groups):
    """All at once, with weights that are not divided by their sums: those are one more value."""
    keys = together(groups)
    q, k, v = (_by_head(x) for x in (_scaled(queries), keys.k, keys.v))
    logits = _logits_by_key(q, k, _places(queries), keys)
    weights = jnp.exp(logits - jnp.max(logits, 2, keepdims=True)).astype(v.dtype)
    values = jnp.concatenate([v, jnp.ones_like(v[..., :1])], -1)
    sums = jnp.matmul(_turned(values), weights, **_FLOAT32)
    out, total = sums[:, :, :-1], sums[:, :, -1]
    out, total = named(_by_head(_turned(out / total[:, :, None]).astype(v.dtype)), total)
    return out, (queries, groups, out, weights, total)


def _keeping_backward(saved, grad: Array):
    queries, groups, out, weights, total = saved
    keys = together(groups)
    q, k, v = (_by_head(x) for x in (_scaled(queries), keys.k, keys.v))
    common = _by_head(overlap(out, grad)) / total
    grad = (_by_head(grad) / total[..., None]).astype(v.dtype)
    dq, dk, dv = _back(weights, common, q, k, v, _turned(k), grad)
    dq = _by_head(jnp.swapaxes(dq, 2, 3)) * queries.q.shape[-1] ** -0.5
    return gradients(queries, groups, dq, apart([_by_head(dk), _by_head(dv)], groups))


_attend_keeping.defvjp(_keeping_forward, _keeping_backward)


def _logits_by_key(q: Array, k: Array, places: Queries, keys: Keys) -> Float[Array, "B N M L"]:
    """Of scaled queries."""
    logits = jnp.einsum("bnmk,bnlk->bnml", k, q, **_FLOAT32)
    return logits + jnp.swapaxes(_rule(places, keys), 1, 2)[:, None]


def _back(
    weights: Float[Array, "B N M L"],
    common: Float[Array, "B N L"],
    q: Array,
    k: Array,
    v: Array,
    by_value: Float[Array, "B N K M"],
    grad: Float[Array, "B N L K"],
) -> tuple[Array, Array, Array]:
    """Gradients of scaled queries (B N K L), keys and values (B N M K)."""
    d_weights = jnp.einsum("bnmk,bnlk->bnml", v, grad, **_FLOAT32)
    d_logits = (weights * (d_weights - common[:, :, None])).astype(k.dtype)
    dk = jnp.matmul(d_logits, q, **_FLOAT32)
    dv = jnp.matmul(weights.astype(k.dtype), grad, **_FLOAT32)
    return jax.lax.optimization_barrier(jnp.matmul(by_value, d_logits, **_FLOAT32)), dk, dv


def _turned(x: Array) -> Array:
    """The last two dims exchanged, in memory too."""
    return jax.lax.optimization_barrier(jnp.swapaxes(x, 2, 3))


def _scaled(queries: Queries) -> Array:
    """Queries that give logits: one product for each of them, not for each logit."""
    return (queries.q * jnp.float32(queries.q.shape[-1] ** -0.5)).astype(queries.q.dtype)


def _by_head(x: Array) -> Array:
    """B L N ... <-> B N L ...: products are faster so, and one copy serves all chunks."""
    return jnp.swapaxes(x, 1, 2)


def _places(queries: Queries) -> Queries:
    """What says where queries are, as B 1 L so that chunks are cut of the same dim."""
    seconds = queries.seconds
    return Queries(
        q=None,
        segment=queries.segment[:, None],
        seconds=None if seconds is None else seconds[:, None],
    )


def _rule(places: Queries, keys: Keys) -> Float[Array, "B L M"]:
    return bias(jax.tree.map(lambda x: x[:, 0], places), keys)


def _chunks(parts: Any, keys: Keys, logits: int) -> Any:
    """Equal chunks of the queries, dim 2 of all `parts`, along a new first dim."""
    rows, heads, length, _ = jax.tree.leaves(parts)[0].shape
    num = num_chunks(length, rows * heads * keys.k.shape[1], logits)

    def cut(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:2], num, length // num, *x.shape[3:]), 2, 0)

    return jax.tree.map(cut, parts)


def _whole(x: Array) -> Array:
    """The way back from `_chunks`."""
    x = jnp.moveaxis(x, 0, 2)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def together(groups: Groups) -> Keys:
    """All groups as one, with spans if one has them."""
    if len(groups) == 1:
        return groups[0]
    spans = [
        jnp.broadcast_to(jnp.array([-FOREVER, FOREVER]), (*group.segment.shape, 2))
        if group.span is None
        else group.span
        for group in groups
    ]
    return Keys(
        k=jnp.concatenate([group.k for group in groups], 1),
        v=jnp.concatenate([group.v for group in groups], 1),
        segment=jnp.concatenate([group.segment for group in groups], 1),
        span=jnp.concatenate(spans, 1),
    )


def apart(arrays: Sequence[Array], groups: Groups) -> list[Pair]:
    """The way back from `together`, of arrays (B M ...) such as the gradients of k and v."""
    ends = np.cumsum([group.k.shape[1] for group in groups])[:-1].tolist()
    k, v = (jnp.split(array, ends, 1) for array in arrays)
    return list(zip(k, v, strict=True))


def num_chunks(length: int, logits_of_one: int, logits: int) -> int:
    """The least number of equal chunks of a row, each of at most about so many `logits`."""
    wanted = max(-(-length * logits_of_one // logits), 1)
    return next((n for n in range(wanted, length + 1) if length % n == 0), length)


_FLOAT32: dict[str, Any] = {"preferred_element_type": jnp.float32}
XLA = Backend(_xla_forward, _xla_backward)
