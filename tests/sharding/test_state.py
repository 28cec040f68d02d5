"""Where the state lies. If these fail, a model does not fit that should, or a mesh fails late."""

import math

import jax
import pytest

from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.sharding import context
from sora_jax.sharding.mesh import MeshConfig, make_mesh, param_shardings
from sora_jax.train import dit_run, runner
from tests.models.test_presets import with_preset
from tests.sharding.steps import packed_batch, training
from tests.train.helpers import one_device

MESHES = [
    dict(fsdp=8),
    dict(fsdp=1, context=8),
    dict(fsdp=1, tensor=8),
    dict(fsdp=2, context=2, tensor=2),
]


def bytes_of_one(shardings, abstract) -> int:
    """Bytes of a tree that one device holds."""
    leaves = zip(jax.tree.leaves(shardings), jax.tree.leaves(abstract), strict=True)
    return sum(math.prod(s.shard_shape(x.shape)) * x.dtype.itemsize for s, x in leaves)


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_bytes_of_a_device_fall_with_the_number_of_devices(sizes):
    """Parameters over fsdp, context and tensor, whichever the eight are."""
    _, abstract, names = network.graph(network.Denoiser, with_preset("S"))
    whole = bytes_of_one(param_shardings(one_device(), abstract, names), abstract)
    part = bytes_of_one(param_shardings(make_mesh(MeshConfig(**sizes)), abstract, names), abstract)
    assert part < 1.02 * whole / 8


@pytest.mark.parametrize("sizes", [*MESHES, dict(data=8), dict(data=2, fsdp=2, context=2)], ids=str)
def test_moments_and_ema_are_spread_over_every_axis(sizes):
    """Over `data` too, where parameters are copies."""
    cfg = training(dit=dict(width=64))
    whole = runner.build(dit_run.plan(cfg), one_device())
    part = runner.build(dit_run.plan(cfg), make_mesh(MeshConfig(**sizes)))
    for name in ("ema", "opt_state"):
        before, after = (
            bytes_of_one(getattr(b.shardings, name), getattr(b.abstract, name))
            for b in (whole, part)
        )
        assert after < 1.1 * before / 8, name


def test_heads_that_the_mesh_cannot_divide_name_the_remedy():
    mesh = make_mesh(MeshConfig(fsdp=1, context=8))
    with pytest.raises(UsageError, match="12 heads are not divisible by .* raise ring"):
        context.check_heads(mesh, context.AttentionConfig(), 12)
    context.check_heads(mesh, context.AttentionConfig(ring=2), 12)


def test_a_ring_that_does_not_divide_context_is_named():
    mesh = make_mesh(MeshConfig(fsdp=2, context=4))
    with pytest.raises(UsageError, match="ring 3 does not divide context 4"):
        context.make_layout(mesh, context.AttentionConfig(ring=3), "float32")


def test_a_row_that_context_cannot_divide_names_the_next():
    """Found while the step is traced, before anything is compiled."""
    cfg = training(dit=dict(num_heads=4), ring=2)
    mesh = make_mesh(MeshConfig(fsdp=1, context=8))
    built = runner.build(dit_run.plan(cfg), mesh)
    batch = packed_batch(0)
    short = {name: x[:, :30] if x.shape[1] == 32 else x for name, x in batch.items()}
    with pytest.raises(UsageError, match="a row of 30 tokens .* use 32"):
        jax.eval_shape(built.step_fn, built.abstract, short, 0.0)


def test_a_batch_that_cannot_be_accumulated_names_the_next():
    with pytest.raises(UsageError, match="accumulate 3; use 9"):
        runner.build(dit_run.plan(training(accumulate=3)), one_device())


@pytest.mark.parametrize(
    "sizes", [dict(fsdp=2, context=4), dict(fsdp=2, context=2, tensor=2)], ids=str
)
def test_gradients_of_kernels_are_summed_slice_by_slice(sizes):
    """Axis by axis: no device gets the whole sum of a kernel of a block (of words it may)."""
    cfg = training()
    batch = packed_batch(0)

    def sums(mesh) -> int:
        built = runner.build(dit_run.plan(cfg), mesh)
        return built.step_fn.lower(built.abstract, batch, 0.0).as_text().count("reduce_scatter")

    kernels = ("qkv", "out of attention", "q to words", "out of that", "up", "down")
    assert sums(make_mesh(MeshConfig(**sizes))) == 2 * len(kernels)  # over fsdp and over context
    assert sums(one_device()) == 0
