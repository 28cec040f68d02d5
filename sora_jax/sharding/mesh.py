"""Device meshes, and the one table that maps logical names to mesh axes.

Axes: `data` (across slices), `fsdp` (parameters and batch), `context` (tokens of a row), `tensor`
(heads and width). Axis types are Auto, said out loud: the compiler lays out what is between the
pinned arrays. `jax.jit` with `in_shardings` and `out_shardings` is what pjit became.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UsageError
from sora_jax.models.vae.vae import TEMPORAL

AXES = ("data", "fsdp", "context", "tensor")
RULES: dict[str | None, tuple[str, ...]] = {
    None: (),
    "layers": (),
    "embed": ("fsdp", "context"),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "channels_in": ("fsdp", "context"),
    "channels_out": ("tensor",),
}
BATCH = ("data", "fsdp")
Split = Literal["frames", "height"]  # of a clip, over `context`
HELD = ("fsdp", "context", "tensor")  # axes over which parameters are spread


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each axis; -1 for `fsdp` takes all that are left."""

    data: int = 1
    fsdp: int = -1
    context: int = 1
    tensor: int = 1


def make_mesh(cfg: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices` (all by default). Raises UsageError if their number does not fit."""
    devices = jax.devices() if devices is None else devices
    fixed = cfg.data * cfg.context * cfg.tensor
    fsdp = len(devices) // fixed if cfg.fsdp == -1 else cfg.fsdp
    if fixed * fsdp != len(devices) or fsdp < 1:
        raise UsageError(
            f"mesh {dataclasses.asdict(cfg)} needs {fixed * max(fsdp, 1)} devices and "
            f"there are {len(devices)}; set fsdp to -1 or change the mesh"
        )
    return jax.make_mesh(
        (cfg.data, fsdp, cfg.context, cfg.tensor),
        AXES,
        devices=devices,
        axis_types=(AxisType.Auto,) * len(AXES),
    )


def param_shardings(mesh: Mesh, abstract: Any, names: Any, axes: tuple[str, ...] = HELD) -> Any:
    """NamedSharding of each parameter from its logical names.

    What the table leaves over of `axes` goes to any other dim but that of layers, as far as the
    axes' sizes divide the dims': small models on large meshes still run.
    """
    return jax.tree.map(
        lambda leaf, spec: held_at(mesh, leaf.shape, spec, axes),
        abstract,
        names,
        is_leaf=lambda leaf: isinstance(leaf, P),
    )


def like(mesh: Mesh, tree: Any, params: Any, shardings: Any) -> Any:
    """Shardings of an optimizer state: a leaf with the path and shape of a parameter follows it."""
    by_path = {
        _keys(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree.leaves_with_path(params), jax.tree.leaves(shardings), strict=True
        )
    }
    longest = max(len(keys) for keys in by_path)

    def find(path, leaf):
        keys = _keys(path)
        for length in range(min(longest, len(keys)), 0, -1):
            shape, sharding = by_path.get(keys[-length:], (None, None))
            if shape == leaf.shape:
                return sharding
        return replicated(mesh)

    return jax.tree.map_with_path(find, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over `data` and `fsdp`; everything else of a batch is whole."""
    return NamedSharding(mesh, P(BATCH))


def num_batch_shards(mesh: Mesh) -> int:
    return math.prod(mesh.shape[axis] for axis in BATCH)


def by_rows(mesh: Mesh, batch: Any) -> Any:
    """`batch` within a program, its rows spread as those of `put_batch`."""
    return jax.lax.with_sharding_constraint(batch, batch_sharding(mesh))


def spread(mesh: Mesh, stack: jax.Array) -> jax.Array:
    """A stack (G ...) within a program, its items (and zeros behind them) over all devices."""
    if mesh.size == 1:
        return stack
    rows = jnp.pad(stack, ((0, -stack.shape[0] % mesh.size), *((0, 0),) * (stack.ndim - 1)))
    return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, P(mesh.axis_names)))


def split_video(mesh: Mesh, video: jax.Array, along: Split) -> jax.Array:
    """A batch of clips (B T H W C) within a program: rows as ever, `along` over `context`.

    Raises UsageError for frames that do not divide into whole chunks, or rows of pixels that do not
    divide at all.
    """
    parts = mesh.shape["context"]
    if parts == 1:
        return video
    dim, unit = (1, TEMPORAL) if along == "frames" else (2, 1)
    if video.shape[dim] % (parts * unit):
        raise UsageError(
            f"{video.shape[dim]} {along} do not divide over {parts} context devices; use a "
            f"multiple of {parts * unit} or a smaller context"
        )
    spec = P(BATCH, "context") if along == "frames" else P(BATCH, None, "context")
    return jax.lax.with_sharding_constraint(video, NamedSharding(mesh, spec))


def put_batch(mesh: Mesh, batch: Any) -> Any:
    """Host arrays (this process's rows) as global arrays sharded over rows.

    For a lone device they stay on the host: the program that gets them places them by itself, in a
    twentieth of the time that `device_put` takes.
    """
    sharding = batch_sharding(mesh)
    # int64 counters become int32
    batch = jax.tree.map(
        lambda x: x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False), batch
    )
    if mesh.size == 1:
        return batch
    if jax.process_count() > 1:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
    placed = jax.device_put(batch, sharding)  # one call for all arrays: milliseconds of every step
    # Virtual devices share the threads that copy: a step must not start before its batch is there.
    return jax.block_until_ready(placed) if mesh.devices.flat[0].platform == "cpu" else placed


def sharded_init(init: Callable[[], Any], shardings: Any) -> Any:
    """Run `init` so that every leaf is made where it will live."""
    return jax.jit(init, out_shardings=shardings)()


def held_at(
    mesh: Mesh, shape: tuple[int, ...], names: P, axes: tuple[str, ...] = HELD
) -> NamedSharding:
    """Where one parameter with these logical names is: see `param_shardings`."""
    assert len(names) == len(shape), (names, shape)
    taken: list[list[str]] = [[] for _ in shape]
    left = [axis for axis in axes if mesh.shape[axis] > 1]

    def give(dim: int, axis: str) -> None:
        size = math.prod(mesh.shape[other] for other in taken[dim])
        if axis in left and shape[dim] % (size * mesh.shape[axis]) == 0:
            taken[dim].append(axis)
            left.remove(axis)

    for dim, name in enumerate(names):
        for axis in RULES[name]:
            give(dim, axis)
    for axis in list(left):
        for dim, name in sorted(enumerate(names), key=lambda item: -shape[item[0]]):
            if name != "layers":
                give(dim, axis)
    return NamedSharding(mesh, P(*(_entry(found) for found in taken)))


def _entry(axes: list[str]) -> str | tuple[str, ...] | None:
    if len(axes) > 1:
        return tuple(axes)
    return axes[0] if axes else None


def _keys(path: tuple) -> tuple[str, ...]:
    return tuple(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
