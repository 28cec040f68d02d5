"""The two kernels of `splash`: attention over blocks of tokens, and all of its gradients.

The algorithm is FlashAttention-2 (Dao 2023), laid out for the TPU. Scores are kept transposed, keys
by queries: what a query needs to remember of its row (largest score, sum, shift) then lies along
lanes and meets the scores in operations on whole registers. Queries come scaled by
log2(e) / sqrt(K), so that the weights are powers of two.

Both grids run over heads first, and no head needs another: the compiler shares them out over the
cores of a chip. The backward kernel visits a pair of blocks once, keys outside and queries inside,
and makes all three gradients there; that of the queries is summed in vector memory.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from sora_jax.arrays import Array, Float, Int

FORWARD, BACKWARD = "splash_forward", "splash_backward"
LOW = -1e30  # score of a pair that may not meet
START_TOP = -1e29  # under any real score, so far above LOW that a power of the difference is 0
LINES = 8  # sublanes of a register: the least height of a block of rows of numbers
# Lines of the tables that go with queries and keys.
SEGMENT, SECONDS, START, END = 0, 1, 1, 2
LOG_SUM, DELTA = 0, 1
_LANES = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
    """Tokens of a block, the same in both kernels; multiples of 128."""

    query: int
    key: int
    step: int  # keys that are worked on at a time, a divisor of `key`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a kernel is run."""

    heads: int  # of a row: N
    blocks: Blocks
    penalty: float | None = None  # logits that a key loses outside its span; None: no spans
    vmem: int | None = None  # bytes of vector memory that the kernel may take
    interpret: bool = False


def forward(
    q: Float[Array, "H L K"],
    k: Float[Array, "H M K"],
    v: Float[Array, "H M K"],
    query_table: Float[Array, "B 8 L"],
    key_table: Float[Array, "B 8 M"],
    options: Options,
) -> tuple[Float[Array, "H L K"], Float[Array, "H 8 L"]]:
    """Attention of H = B N heads, and the base-2 logarithm of the sum of each query's weights.

    L and M are multiples of their blocks. A query that sees no key gives 0.
    """
    (heads, length, width), block = q.shape, options.blocks
    query, key, meet = _edges(query_table, key_table, block)
    reach = _reach(meet)

    def keys(h, i, j, *scalars):
        first, last = scalars[-2:]
        row = lax.div(h, options.heads)
        return jnp.clip(j, first[row, i], last[row, i])  # what is passed over is not fetched

    at_query = pl.BlockSpec((None, block.query, width), lambda h, i, j, *_: (h, i, 0))
    at_key = pl.BlockSpec((None, block.key, width), lambda h, i, j, *s: (h, keys(h, i, j, *s), 0))
    line = (None, LINES, block.query)
    return pl.pallas_call(
        functools.partial(_forward_kernel, options=options),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=6,
            grid=(heads, length // block.query, k.shape[1] // block.key),
            in_specs=[
                at_query,
                at_key,
                at_key,
                pl.BlockSpec(line, lambda h, i, j, *_: (lax.div(h, options.heads), 0, i)),
                pl.BlockSpec(
                    (None, LINES, block.key),
                    lambda h, i, j, *s: (lax.div(h, options.heads), 0, keys(h, i, j, *s)),
                ),
            ],
            out_specs=[at_query, pl.BlockSpec(line, lambda h, i, j, *_: (h, 0, i))],
            scratch_shapes=[
                pltpu.VMEM((1, block.query), jnp.float32),
                pltpu.VMEM((1, block.query), jnp.float32),
                pltpu.VMEM((width, block.query), jnp.float32),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct(q.shape, q.dtype),
            jax.ShapeDtypeStruct((heads, LINES, length), jnp.float32),
        ],
        compiler_params=_params(options),
        interpret=options.interpret,
        name=_name(FORWARD, options),
    )(*query, *key, *reach, q, k, v, query_table, key_table)


def _forward_kernel(*refs, options: Options):
    query, key, _, (q_ref, k_ref, v_ref, query_table, key_table), outs = _group(refs, inputs=5)
    out_ref, log_sum_ref, top_ref, sum_ref, total_ref = outs
    i, j = pl.program_id(1), pl.program_id(2)

    @pl.when(j == 0)
    def start():
        top_ref[...] = jnp.full_like(top_ref, START_TOP)
        sum_ref[...] = jnp.zeros_like(sum_ref)
        total_ref[...] = jnp.zeros_like(total_ref)

    def visit(is_masked: bool):
        q, top, weight, total = q_ref[...], top_ref[...], sum_ref[...], total_ref[...]
        for t in range(0, k_ref.shape[0], options.blocks.step):
            at, before = pl.ds(t, options.blocks.step), top
            scores = _dot(k_ref[at, :], q, 1, 1)
            if is_masked:
                keep, scores = _rule(scores, query_table, key_table[:, at], options.penalty)
                scores = jnp.where(keep, scores, LOW)
            top = jnp.maximum(before, jnp.max(scores, 0, keepdims=True))
            weights = jnp.exp2(scores - top)
            fade = jnp.exp2(before - top)
            weight = weight * fade + jnp.sum(weights, 0, keepdims=True)
            total = total * fade + _dot(v_ref[at, :], weights.astype(v_ref.dtype), 0, 0)
        top_ref[...], sum_ref[...], total_ref[...] = top, weight, total

    _visit_where_they_meet(visit, (query, i), (key, j), options)

    @pl.when(j == pl.num_programs(2) - 1)
    def finish():
        weight = jnp.where(sum_ref[...] == 0, 1.0, sum_ref[...])
        out_ref[...] = (total_ref[...] / weight).T.astype(out_ref.dtype)
        log_sum_ref[...] = jnp.broadcast_to(top_ref[...] + jnp.log2(weight), log_sum_ref.shape)


def backward(
    arrays: tuple[Array, Array, Array, Array],
    stats: Float[Array, "H 8 L"],
    query_table: Float[Array, "B 8 L"],
    key_table: Float[Array, "B 8 M"],
    options: Options,
) -> tuple[Float[Array, "H L K"], Float[Array, "H M K"], Float[Array, "H M K"]]:
    """Gradients for scaled q, k and v of `arrays` = (q, k, v, gradient of the output).

    `stats` has the log-sum of `forward` in line LOG_SUM and, in line DELTA, what is taken from the
    gradient of each weight. The gradient for q is that of plain logits: times 1 / sqrt(K) it is
    that of unscaled queries. L * K floats must fit in vector memory.
    """
    q, k, v, _ = arrays
    (heads, length, width), block = q.shape, options.blocks
    query, key, meet = _edges(query_table, key_table, block)
    reach = _reach(jnp.swapaxes(meet, 1, 2))
    turns, visits = k.shape[1] // block.key, length // block.query

    def queries(h, j, i, *scalars):
        first, last = scalars[-2:]
        row = lax.div(h, options.heads)
        return jnp.clip(i, first[row, j], last[row, j])

    at_query = pl.BlockSpec(
        (None, block.query, width), lambda h, j, i, *s: (h, queries(h, j, i, *s), 0)
    )
    at_key = pl.BlockSpec((None, block.key, width), lambda h, j, i, *_: (h, j, 0))
    line = (None, LINES, block.query)
    # Written once, on the last turn over the queries; until then the first block waits.
    out_query = pl.BlockSpec(
        (None, block.query, width), lambda h, j, i, *_: (h, jnp.where(j == turns - 1, i, 0), 0)
    )
    return pl.pallas_call(
        functools.partial(_backward_kernel, options=options),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=6,
            grid=(heads, turns, visits),
            in_specs=[
                at_query,
                at_key,
                at_key,
                at_query,
                pl.BlockSpec(line, lambda h, j, i, *s: (h, 0, queries(h, j, i, *s))),
                pl.BlockSpec(
                    line,
                    lambda h, j, i, *s: (lax.div(h, options.heads), 0, queries(h, j, i, *s)),
                ),
                pl.BlockSpec(
                    (None, LINES, block.key),
                    lambda h, j, i, *_: (lax.div(h, options.heads), 0, j),
                ),
            ],
            out_specs=[out_query, at_key, at_key],
            scratch_shapes=[
                pltpu.VMEM((visits, width, block.query), jnp.float32),
                pltpu.VMEM((block.key, width), jnp.float32),
                pltpu.VMEM((block.key, width), jnp.float32),
            ],
        ),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v)],
        compiler_params=_params(options),
        interpret=options.interpret,
        name=_name(BACKWARD, options),
    )(*query, *key, *reach, *arrays, stats, query_table, key_table)


def _backward_kernel(*refs, options: Options):
    query, key, _, inputs, outs = _group(refs, inputs=7)
    q_ref, k_ref, v_ref, grad_ref, stats_ref, query_table, key_table = inputs
    dq_ref, dk_ref, dv_ref, dq_sum, dk_sum, dv_sum = outs
    j, i = pl.program_id(1), pl.program_id(2)

    @pl.when(i == 0)
    def start_keys():
        dk_sum[...] = jnp.zeros_like(dk_sum)
        dv_sum[...] = jnp.zeros_like(dv_sum)

    @pl.when(j == 0)
    def start_queries():
        dq_sum[i] = jnp.zeros(dq_sum.shape[1:], jnp.float32)

    def visit(is_masked: bool):
        q, grad = q_ref[...], grad_ref[...]
        log_sum, delta = stats_ref[pl.ds(LOG_SUM, 1), :], stats_ref[pl.ds(DELTA, 1), :]
        dq = dq_sum[i]
        for t in range(0, k_ref.shape[0], options.blocks.step):
            at = pl.ds(t, options.blocks.step)
            k, v = k_ref[at, :], v_ref[at, :]
            scores = _dot(k, q, 1, 1)
            if is_masked:
                keep, scores = _rule(scores, query_table, key_table[:, at], options.penalty)
                weights = jnp.where(keep, jnp.exp2(scores - log_sum), 0.0)
            else:
                weights = jnp.exp2(scores - log_sum)
            dv_sum[at, :] += _dot(weights.astype(grad.dtype), grad, 1, 0)
            slope = (weights * (_dot(v, grad, 1, 1) - delta)).astype(q.dtype)
            dk_sum[at, :] += _dot(slope, q, 1, 0)
            dq = dq + _dot(k, slope, 0, 0)
        dq_sum[i] = dq

    _visit_where_they_meet(visit, (query, i), (key, j), options)

    @pl.when(i == pl.num_programs(2) - 1)
    def finish_keys():
        dk_ref[...] = (dk_sum[...] * math.log(2)).astype(dk_ref.dtype)
        dv_ref[...] = dv_sum[...].astype(dv_ref.dtype)

    @pl.when(j == pl.num_programs(1) - 1)
    def finish_queries():
        dq_ref[...] = dq_sum[i].T.astype(dq_ref.dtype)


def _visit_where_they_meet(visit, query, key, options: Options) -> None:
    """Run `visit(is_masked)` if the segments of two blocks can meet.

    `query` and `key` are ((lowest segments, highest segments), number of the block).
    """
    row = lax.div(pl.program_id(0), options.heads)
    (low, high), (key_low, key_high) = (
        [edge[row, at] for edge in edges] for edges, at in (query, key)
    )
    meet = (low <= key_high) & (key_low <= high)
    is_masked = (low != high) | (key_low != key_high)
    if options.penalty is not None:
        pl.when(meet)(lambda: visit(True))
        return
    pl.when(meet & ~is_masked)(lambda: visit(False))
    pl.when(meet & is_masked)(lambda: visit(True))


def _rule(scores, query_table, key_lines, penalty):
    """(which pairs may meet, scores less what a key loses outside its span)."""
    # A key's numbers are wanted down the rows of the scores: turned by the transpose unit.
    lines = jnp.concatenate([key_lines] * (_LANES // LINES), 0).T
    column = {name: lines[:, name : name + 1] for name in (SEGMENT, START, END)}
    keep = column[SEGMENT] == query_table[pl.ds(SEGMENT, 1), :]
    if penalty is None:
        return keep, scores
    seconds = query_table[pl.ds(SECONDS, 1), :]
    covered = (column[START] <= seconds) & (seconds < column[END])
    return keep, jnp.where(covered, scores, scores + penalty * math.log2(math.e))


def _edges(query_table: Array, key_table: Array, block: Blocks):
    """Lowest and highest segment of each block, and which blocks can meet (B, queries, keys)."""

    def edges(table: Array, size: int) -> tuple[Int[Array, "B b"], Int[Array, "B b"]]:
        parts = table[:, SEGMENT].astype(jnp.int32).reshape(table.shape[0], -1, size)
        return parts.min(-1), parts.max(-1)

    low, high = edges(query_table, block.query)
    key_low, key_high = edges(key_table, block.key)
    meet = (low[:, :, None] <= key_high[:, None]) & (key_low[:, None] <= high[:, :, None])
    return (low, high), (key_low, key_high), meet


def _reach(meet: Array) -> tuple[Int[Array, "B b"], Int[Array, "B b"]]:
    """Numbers of the first and the last block that each can meet."""
    last = meet.shape[-1] - 1 - jnp.argmax(meet[..., ::-1], -1)
    return jnp.argmax(meet, -1).astype(jnp.int32), last.astype(jnp.int32)


def _group(refs: tuple, *, inputs: int):
    """(edges of queries, edges of keys, reach, inputs, outputs and scratch) of a kernel."""
    return refs[:2], refs[2:4], refs[4:6], refs[6 : 6 + inputs], refs[6 + inputs :]


def _dot(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return lax.dot_general(
        a,
        b,
        (((axis_a,), (axis_b,)), ((), ())),
        precision=exact,
        preferred_element_type=jnp.float32,
    )


def _params(options: Options) -> pltpu.CompilerParams:
    return pltpu.CompilerParams(
        dimension_semantics=("parallel", "arbitrary", "arbitrary"),
        vmem_limit_bytes=options.vmem,
    )


def _name(kernel: str, options: Options) -> str:
    """Says to whoever reads the compiled program which kernel this is."""
    block, spans = options.blocks, "" if options.penalty is None else "_spans"
    return f"{kernel}{spans}_{block.query}_{block.key}_{block.step}"
