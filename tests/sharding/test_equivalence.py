"""Any mesh, the same run: if these fail, what is learned depends on the machine."""

import functools

import jax
import numpy as np
import pytest

from sora_jax.sharding.mesh import MeshConfig, make_mesh
from tests.sharding.steps import run, training
from tests.train.helpers import one_device

REMAT = dict(remat="attention")
JOINED = dict(text_attention="joined")
# (data, fsdp, context, tensor), and how attention and the batch are divided.
FAST = [
    ((1, 1, 8, 1), dict(ring=1)),
    ((1, 2, 2, 2), dict(ring=2, accumulate=2, dit=REMAT)),
]
SLOW = [
    ((8, 1, 1, 1), {}),
    ((1, 8, 1, 1), dict(accumulate=1, dit=REMAT)),
    ((1, 1, 8, 1), dict(ring=8)),
    ((1, 1, 8, 1), dict(ring=2)),
    ((1, 1, 8, 1), dict(ring=4, dit=JOINED)),
    ((1, 1, 1, 8), {}),
    ((2, 2, 2, 1), dict(accumulate=2, dit=dict(remat="block"))),
    ((2, 2, 2, 1), dict(dit=JOINED)),
    ((1, 2, 2, 2), {}),
]
ONE_DEVICE = [
    dict(accumulate=4),
    dict(dit=dict(unroll=2)),
    dict(dit=dict(remat="block")),
    dict(dit=dict(remat="attention", unroll=2)),
    dict(dit=dict(remat="products")),
]


@functools.cache
def reference(text_attention: str):
    return run(training(dit=dict(text_attention=text_attention)), one_device())


def check(cfg, mesh):
    losses, params = run(cfg, mesh)
    expected, expected_params = reference(cfg.model.dit.text_attention)
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params, expected_params)


@pytest.mark.parametrize(
    ("sizes", "how"), FAST + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]
)
def test_a_mesh_gives_what_one_device_gives(sizes, how):
    """Loss and every parameter after two steps on packed rows with masks, to 1e-5."""
    names = ("data", "fsdp", "context", "tensor")
    check(training(**how), make_mesh(MeshConfig(**dict(zip(names, sizes, strict=True)))))


@pytest.mark.slow
@pytest.mark.parametrize("how", ONE_DEVICE)
def test_how_a_step_is_done_changes_nothing(how):
    """Accumulated = whole batch, unrolled = scanned, computed again = kept."""
    check(training(**how), one_device())
