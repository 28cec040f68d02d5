"""A row over several devices: attention by exchanged heads, by a ring, or by both (`shard_map`).

Of a row's tokens each device of the `context` axis holds an equal run. Ulysses (Jacobs et al. 2023)
exchanges heads for tokens before and after attention; a ring (Liu et al. 2023) leaves the queries
where they are and passes the keys around. With both, devices that exchange heads are neighbours
and the ring goes over groups of them. Text keys are whole on every device.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.arrays import Array
from sora_jax.errors import UsageError
from sora_jax.models import attention, cudnn, splash
from sora_jax.models.attention import Attend, Backend, Keys, Queries
from sora_jax.models.layers import Dense, matmul
from sora_jax.models.layout import Layout
from sora_jax.sharding.mesh import BATCH, RULES, held_at

_FOR_WORDS = "text_kv"  # a product with words, which each context device does in full


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """How attention is computed; its values do not depend on it."""

    backend: Literal["xla", "splash", "cudnn"] = "xla"  # of any device, of TPUs, of NVIDIA GPUs
    ring: int = 1
    """Of the mesh's `context` devices, how many pass keys around a ring; the others exchange heads
    for tokens. 1: heads alone (Ulysses); as many as `context`: a ring alone."""


def make_layout(mesh: Mesh, cfg: AttentionConfig, dtype: str) -> Layout:
    """Where the work of a network on `mesh` lies. `dtype` is that in which its weights are used."""
    backend, ring = _backend(mesh.devices.flat[0], cfg, dtype), cfg.ring
    if mesh.shape["context"] % ring:
        raise UsageError(
            f"ring {ring} does not divide context {mesh.shape['context']}; use one of its divisors"
        )
    split, along = _split(mesh, ring)
    by_row = NamedSharding(mesh, P(BATCH, "context"))
    alone: Attend = attention.attend_alone
    if backend is not attention.XLA:
        alone = functools.partial(attention.attend_by, backend)

    def attend(queries: Queries, keys: Keys, text: Keys | None = None) -> Array:
        if mesh.size == 1:
            return alone(queries, keys, text)
        call = jax.shard_map(
            lambda *parts: _attend_part(backend, ring, along[-1], *parts),
            mesh=split,
            in_specs=(_specs(queries, along), _specs(keys, along), _text_specs(text, along[-1])),
            out_specs=P(BATCH, along, "tensor"),
            check_vma=False,
        )
        return call(queries, keys, text)

    def attend_text(queries: Queries, text: Keys) -> Array:
        if mesh.size == 1:
            return alone(queries, text, None)
        call = jax.shard_map(
            lambda queries, text: attention.attend_by(backend, queries, text),
            mesh=mesh,
            in_specs=(
                Queries(
                    q=P(BATCH, "context", "tensor"),
                    segment=P(BATCH, "context"),
                    seconds=P(BATCH, "context"),
                ),
                Keys(
                    k=P(BATCH, None, "tensor"),
                    v=P(BATCH, None, "tensor"),
                    segment=P(BATCH),
                    span=P(BATCH),
                ),
            ),
            out_specs=P(BATCH, "context", "tensor"),
            check_vma=False,
        )
        return call(queries, text)

    def tokens(x: Array) -> Array:
        check_row(mesh, x.shape[1])
        return jax.lax.with_sharding_constraint(x, by_row)

    if mesh.size == 1:
        return Layout(attend=attend, attend_text=attend_text)
    return Layout(
        attend=attend,
        attend_text=attend_text,
        tokens=tokens,
        weights=lambda block: gathered(mesh, block, dtype),
    )


def check_heads(mesh: Mesh, cfg: AttentionConfig, num_heads: int) -> None:
    """Raise UsageError for heads that the mesh cannot divide."""
    context, tensor, ring = mesh.shape["context"], mesh.shape["tensor"], cfg.ring
    exchange = context // ring
    if num_heads % (exchange * tensor):
        raise UsageError(
            f"{num_heads} heads are not divisible by tensor {tensor} times the {exchange} devices "
            f"of context {context} that exchange heads (ring {ring}); raise ring or change the mesh"
        )


def check_row(mesh: Mesh, tokens: int) -> None:
    """Raise UsageError for rows of `tokens` tokens that the mesh cannot divide."""
    context = mesh.shape["context"]
    if tokens % context:
        raise UsageError(
            f"a row of {tokens} tokens is not divisible by context {context}; use "
            f"{-(-tokens // context) * context}"
        )


def gathered(mesh: Mesh, block: nnx.Module, dtype: str) -> nnx.Module:
    """One layer whose parameters are brought to where they are used.

    Of a product with tokens each device gathers the kernel and makes a gradient from its own
    tokens; what comes back is summed slice by slice, as the kernel is held (reduce-scatter). Left
    to itself the compiler sums the whole gradient everywhere, and then throws most of it away.
    """
    for path, dense in nnx.iter_modules(block):
        if isinstance(dense, Dense) and _FOR_WORDS not in path:
            names = dense.kernel.get_metadata()["out_sharding"][-2:]
            dense.product = functools.partial(_product, mesh, names)

    def gather(path: tuple, param: nnx.Param) -> nnx.Param:
        where = jax.tree_util.keystr(path)
        if "kernel" in where and _FOR_WORDS not in where:
            return param
        value = param[...].astype(dtype)
        names = param.get_metadata()["out_sharding"][-value.ndim :]
        used = NamedSharding(mesh, _used(mesh, names, value.shape))
        return param.replace(jax.lax.with_sharding_constraint(value, used))

    return jax.tree.map_with_path(gather, block, is_leaf=lambda leaf: isinstance(leaf, nnx.Param))


def _backend(device: jax.Device, cfg: AttentionConfig, dtype: str) -> Backend:
    """Raises UsageError for one that `device` does not have, and for a ring that it can't make."""
    if cfg.backend == "xla":
        return attention.XLA
    if cfg.backend == "splash":
        return splash.make_backend(splash.on(device.platform, device.device_kind))
    if cfg.ring > 1:
        raise UsageError(
            f"attention.backend cudnn makes no ring, and ring is {cfg.ring}; set it to 1, or use "
            "attention.backend xla"
        )
    return cudnn.on(device.platform, dtype)


def _product(mesh: Mesh, names: tuple, x: Array, kernel: Array, dtype: str) -> Array:
    """`matmul` of tokens B L i and a kernel that comes as it is held.

    It is gathered over one axis after the other: over several at once the TPU compiler makes of a
    gathering a sum of what is mostly zeros on some topologies (v5p:4x4x4), at twice the bytes.
    """
    held = held_at(mesh, kernel.shape, P(*names)).spec
    used = _used(mesh, names, kernel.shape)

    def local(x: Array, part: Array) -> Array:
        for dim, (axes, kept) in enumerate(zip(held, used, strict=True)):
            axes = (axes,) if isinstance(axes, str) else axes or ()
            for axis in reversed(axes):  # slices of the last axis are neighbours
                if axis != kept:
                    part = jax.lax.all_gather(part, axis, axis=dim, tiled=True)
        out = matmul(x, part, dtype)
        return out if used[0] is None else jax.lax.psum(out, used[0])

    call = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(P(BATCH, "context", used[0]), held),
        out_specs=P(BATCH, "context", used[1]),
        check_vma=False,
    )
    return call(x, kernel.astype(dtype))


def _used(mesh: Mesh, names: tuple, shape: tuple[int, ...]) -> P:
    """A parameter whole, but for what `tensor` divides."""
    return P(
        *(
            "tensor" if "tensor" in RULES[name] and size % mesh.shape["tensor"] == 0 else None
            for name, size in zip(names, shape, strict=True)
        )
    )


def _split(mesh: Mesh, ring: int) -> tuple[Mesh, tuple[str, ...]]:
    """(mesh, axes of a row's tokens); the last of those are the devices that exchange heads.

    With a ring these are the same devices, but the context axis is two.
    """
    if ring == 1:
        return mesh, ("context",)
    data, fsdp, context, tensor = mesh.devices.shape
    split = Mesh(
        mesh.devices.reshape(data, fsdp, ring, context // ring, tensor),
        ("data", "fsdp", "ring", "exchange", "tensor"),
        axis_types=(AxisType.Auto,) * 5,
    )
    return split, ("ring", "exchange")


def _specs(part: Any, along: tuple[str, ...]) -> Any:
    """Specs of queries or keys of tokens: numbers of tokens have no heads."""
    arrays = {"q", "k", "v"}
    return dataclasses.replace(
        part,
        **{
            field.name: None
            if getattr(part, field.name) is None
            else P(BATCH, along, "tensor")
            if field.name in arrays
            else P(BATCH, along)
            for field in dataclasses.fields(part)
        },
    )


def _text_specs(text: Keys | None, exchange: str) -> Keys | None:
    if text is None:
        return None
    by_head = P(BATCH, None, ("tensor", exchange))
    return Keys(k=by_head, v=by_head, segment=P(BATCH), span=P(BATCH))


def _attend_part(
    backend: Backend, ring: int, exchange: str, queries: Queries, keys: Keys, text: Keys | None
) -> Array:
    """One device's part of attention over the row, within `shard_map`."""
    queries, keys = (
        jax.tree.map(lambda x: _to_tokens(x, exchange), part) for part in (queries, keys)
    )
    if ring == 1:
        out = attention.attend_by(backend, queries, keys, text)
    else:
        out = _ring(backend, ring, queries, keys, text)
    return jax.lax.all_to_all(out, exchange, split_axis=1, concat_axis=2, tiled=True)


def _to_tokens(x: Array, exchange: str) -> Array:
    """All tokens of the group: of a share of the heads, or of what has no heads."""
    if x.ndim == 4:
        return jax.lax.all_to_all(x, exchange, split_axis=2, concat_axis=1, tiled=True)
    return jax.lax.all_gather(x, exchange, axis=1, tiled=True)


def _ring_primal(backend: Backend, ring: int, queries: Queries, keys: Keys, text: Keys | None):
    return _ring_forward(backend, ring, queries, keys, text)[0]


def _ring_forward(backend: Backend, ring: int, queries: Queries, keys: Keys, text: Keys | None):
    """Keys go once around; what each device's gave is joined as it comes."""

    def turn(carry, _):
        (out, log_sum), keys = carry
        joined = attention.join((out, log_sum), backend.forward(queries, (keys,)))
        return (joined, _pass_on(keys, ring)), None

    nothing = jnp.zeros(queries.q.shape, jnp.float32), jnp.full(queries.q.shape[:3], -1e30)
    start = nothing if text is None else backend.forward(queries, (text,))
    start = start[0].astype(jnp.float32), start[1]
    ((out, log_sum), _), _ = jax.lax.scan(turn, (start, keys), length=ring)
    out, log_sum = attention.named(out.astype(queries.q.dtype), log_sum)
    return out, (queries, keys, text, out, log_sum)


def _ring_backward(backend: Backend, ring: int, saved, grad: Array):
    """Keys go around again, and their gradients with them until they are home."""
    queries, keys, text, out, log_sum = saved
    common = attention.overlap(out, grad)

    def turn(carry, _):
        dq, keys, dk, dv = carry
        more, [pair] = backend.backward(queries, (keys,), log_sum, common, grad)
        dq, dk, dv = (
            a + b.astype(jnp.float32) for a, b in zip((dq, dk, dv), (more, *pair), strict=True)
        )
        return (dq, *_pass_on((keys, dk, dv), ring)), None

    dq, dk, dv = (jnp.zeros(x.shape, jnp.float32) for x in (queries.q, keys.k, keys.v))
    d_text = None
    if text is not None:
        more, pairs = backend.backward(queries, (text,), log_sum, common, grad)
        (d_text,) = attention.gradients(queries, (text,), more, pairs)[1]
        dq = more.astype(jnp.float32)
    (dq, _, dk, dv), _ = jax.lax.scan(turn, (dq, keys, dk, dv), length=ring)
    d_queries, (d_keys,) = attention.gradients(queries, (keys,), dq, [(dk, dv)])
    return d_queries, d_keys, d_text


def _pass_on(tree: Any, ring: int) -> Any:
    to_next = [(i, (i + 1) % ring) for i in range(ring)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, "ring", to_next), tree)


_ring = jax.custom_vjp(_ring_primal, nondiff_argnums=(0, 1))
_ring.defvjp(_ring_forward, _ring_backward)
