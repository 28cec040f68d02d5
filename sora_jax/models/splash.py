"""Attention on TPU: gradients, spans and groups of keys around the kernels of `splash_kernels`.

Each group of keys (the row's own tokens, text, a part of a ring) runs its own kernels, and
`attention.join` makes one softmax of them. The kernels know nothing of meshes: on several devices
they run in `shard_map` (`sharding/context.py`).
"""

import dataclasses
import functools
import math

import jax.numpy as jnp

from sora_jax.arrays import Array, Float
from sora_jax.errors import UsageError
from sora_jax.models import attention
from sora_jax.models import splash_kernels as kernels
from sora_jax.models.attention import Backend, Groups, Keys, Queries
from sora_jax.models.splash_kernels import Blocks, Options

_OUTSIDE = -(2.0**24)  # segment of what only fills the last block: no token has it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is best on one kind of chip, by the compiler's schedule (docs/planning.md)."""

    forward: Blocks
    backward: Blocks
    span: int  # queries whose gradient the backward kernel holds, for heads of 128
    vmem: int  # bytes of vector memory that a kernel may take


_V5 = {
    "forward": Blocks(query=1024, key=2048, step=1024),
    "backward": Blocks(query=1024, key=1024, step=512),
}
TUNING = {
    "v5e": Tuning(**_V5, span=163840, vmem=110 * 2**20),
    "v5p": Tuning(**_V5, span=81920, vmem=60 * 2**20),
    "v6e": Tuning(
        forward=Blocks(query=2048, key=2048, step=1024),
        backward=Blocks(query=2048, key=1024, step=1024),
        span=98304,
        vmem=110 * 2**20,
    ),
}


_KINDS = {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splash:
    """The kernels as they are run on one kind of chip."""

    tuning: Tuning = TUNING["v5e"]
    interpret: bool = False  # as plain JAX, on any device: for tests


def on(platform: str, device_kind: str) -> Splash:
    """The kernels for a `jax.Device` of this platform and kind; interpreted on a CPU.

    Raises UsageError for a TPU that they are not tuned for, and for a GPU.
    """
    if platform == "gpu":
        raise UsageError("attention.backend splash is for TPUs; on NVIDIA GPUs use cudnn")
    if platform != "tpu":
        return Splash(interpret=True)
    if device_kind not in _KINDS:
        raise UsageError(
            f"the splash kernels are not tuned for {device_kind}, only for {', '.join(TUNING)}; "
            "use attention.backend xla"
        )
    return Splash(tuning=TUNING[_KINDS[device_kind]])


def attend(
    queries: Queries, keys: Keys, text: Keys | None = None, *, splash: Splash = Splash()
) -> Float[Array, "B L N K"]:
    """What `attention.attend` gives, but that a query which sees no key gives 0."""
    return attention.attend_by(make_backend(splash), queries, keys, text)


@functools.cache
def make_backend(splash: Splash) -> Backend:
    """The kernels as a backend. Segment numbers are below 2^24; sums are float32."""
    return Backend(functools.partial(_forward, splash), functools.partial(_backward, splash))


def _forward(splash: Splash, queries: Queries, groups: Groups) -> tuple[Array, Array]:
    """A query that sees no key of a group gives 0 and a log-sum of about -1e30 there."""
    parts = [_forward_one(splash, queries, keys) for keys in groups]
    out, log_sum = functools.reduce(attention.join, parts)
    return out.astype(queries.q.dtype), log_sum


def _forward_one(splash: Splash, queries: Queries, keys: Keys) -> tuple[Array, Array]:
    q, k, v = queries.q, keys.k, keys.v
    query, key = _marks(queries, keys)
    block = _fit(splash.tuning, q.shape, k.shape[1]).forward
    out, log_sum = kernels.forward(
        _heads(_scaled(q), block.query),
        _heads(k, block.key),
        _heads(v, block.key),
        _table(query, block.query),
        _table(key, block.key),
        _options(splash, q.shape[2], block, key),
    )
    rows, length, heads, _ = q.shape
    log_sum = log_sum[:, 0, :length].reshape(rows, heads, length)
    return _tokens(out, rows, length), jnp.swapaxes(log_sum, 1, 2) * math.log(2)


def _backward(splash: Splash, queries: Queries, groups: Groups, log_sum, common, grad):
    log_sum, common = jnp.swapaxes(log_sum, 1, 2) / math.log(2), jnp.swapaxes(common, 1, 2)
    parts = [_backward_one(splash, queries, keys, log_sum, common, grad) for keys in groups]
    return _sum([part[0] for part in parts]), [part[1:] for part in parts]


def _backward_one(splash: Splash, queries: Queries, keys: Keys, log_sum, common, grad):
    """Gradients of q, k and v; `log_sum` (base 2) and `common` are B N L."""
    q, k, v = queries.q, keys.k, keys.v
    query, key = _marks(queries, keys)
    tuning = _fit(splash.tuning, q.shape, k.shape[1])
    block, (rows, length, heads, width) = tuning.backward, q.shape
    pair = _heads(k, block.key), _heads(v, block.key)
    options, parts = _options(splash, heads, block, key), []
    for start in range(0, length, tuning.span):
        at = slice(start, start + tuning.span)
        stats = jnp.stack([log_sum[..., at], common[..., at]], 2).reshape(rows * heads, 2, -1)
        dq, dk, dv = kernels.backward(
            (_heads(_scaled(q[:, at]), block.query), *pair, _heads(grad[:, at], block.query)),
            _lines(_pad(stats, 2, block.query)),
            _table(query[..., at], block.query),
            _table(key, block.key),
            options,
        )
        parts.append((_tokens(dq, rows, q[:, at].shape[1]), dk, dv))
    dq = jnp.concatenate([part[0] for part in parts], 1) * width**-0.5
    dk, dv = (_tokens(_sum([part[i] for part in parts]), rows, k.shape[1]) for i in (1, 2))
    return dq, dk, dv


def _marks(queries: Queries, keys: Keys) -> tuple[Float[Array, "B n L"], Float[Array, "B m M"]]:
    """Segments and times of queries, and segments (and spans) of keys, as tables of numbers."""
    seconds = jnp.zeros(queries.segment.shape) if queries.seconds is None else queries.seconds
    query = jnp.stack([queries.segment.astype(jnp.float32), seconds], 1)
    key = keys.segment.astype(jnp.float32)[:, None]
    if keys.span is not None:
        key = jnp.concatenate([key, jnp.moveaxis(keys.span, -1, 1)], 1)
    return query, key


def _fit(tuning: Tuning, shape: tuple[int, ...], keys: int) -> Tuning:
    """Blocks no longer than what there is, in whole registers; the span for this head width."""
    queries = -(-shape[1] // 128) * 128
    keys = -(-keys // 128) * 128

    def fit(block: Blocks) -> Blocks:
        query, key = min(block.query, queries), min(block.key, keys)
        return Blocks(query=query, key=key, step=math.gcd(block.step, key))

    span = tuning.span * 128 // max(shape[3], 128) // tuning.backward.query * tuning.backward.query
    return dataclasses.replace(
        tuning, forward=fit(tuning.forward), backward=fit(tuning.backward), span=span
    )


def _options(splash: Splash, heads: int, blocks: Blocks, key: Array) -> Options:
    has_spans = key.shape[1] > 1
    return Options(
        heads=heads,
        blocks=blocks,
        penalty=attention.SPAN_PENALTY if has_spans else None,
        vmem=splash.tuning.vmem,
        interpret=splash.interpret,
    )


def _scaled(q: Array) -> Array:
    """Queries whose products with keys are base-2 logits."""
    scale = q.shape[-1] ** -0.5 * math.log2(math.e)
    return (q.astype(jnp.float32) * scale).astype(q.dtype)


def _heads(x: Float[Array, "B L N K"], block: int) -> Float[Array, "H P K"]:
    """Rows and heads in one dim, tokens filled up to whole blocks (P of them)."""
    x = _pad(x, 1, block)
    return jnp.swapaxes(x, 1, 2).reshape(-1, x.shape[1], x.shape[3])


def _tokens(x: Float[Array, "H P K"], rows: int, length: int) -> Float[Array, "B L N K"]:
    """The way back from `_heads`."""
    return jnp.swapaxes(x.reshape(rows, -1, *x.shape[1:]), 1, 2)[:, :length]


def _table(numbers: Float[Array, "B n L"], block: int) -> Float[Array, "B 8 P"]:
    return _lines(_pad(numbers, 2, block, _OUTSIDE))


def _lines(x: Float[Array, "B n L"]) -> Float[Array, "B 8 L"]:
    return jnp.pad(x, ((0, 0), (0, kernels.LINES - x.shape[1]), (0, 0)))


def _pad(x: Array, axis: int, block: int, value: float = 0.0) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, widths, constant_values=value)


def _sum(parts: list[Array]) -> Array:
    return functools.reduce(jnp.add, [part.astype(jnp.float32) for part in parts])
