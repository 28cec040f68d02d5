"""If these fail, a parameter has another name, shape, type or place than checkpoints of it have.

After a change that is meant to do that: python -m tests.sharding.test_golden
"""

import json
import math
from pathlib import Path

import jax
import pytest

from sora_jax.models import network
from sora_jax.sharding import mesh as meshes
from tests.models.test_presets import with_preset

GOLDEN = Path(__file__).with_name("golden.json")
MESHES = {"8 fsdp": (1, 8, 1, 1), "2 data, 2 fsdp, 2 tensor": (2, 2, 1, 2)}
PRESETS = ("toy", "S", "14B")


def structure(preset: str) -> dict[str, list[str]]:
    """Of each parameter: shape and type, then on each of MESHES its place and its average's."""
    _, abstract, names = network.graph(network.Denoiser, with_preset(preset))
    leaves = jax.tree_util.tree_leaves_with_path(abstract)
    found = {
        jax.tree_util.keystr(path, simple=True, separator="."): [f"{leaf.dtype}{list(leaf.shape)}"]
        for path, leaf in leaves
    }
    for sizes in MESHES.values():
        axes = dict(zip(("data", "fsdp", "context", "tensor"), sizes, strict=True))
        mesh = meshes.make_mesh(meshes.MeshConfig(**axes))
        own = jax.tree.leaves(meshes.param_shardings(mesh, abstract, names))
        spread = jax.tree.leaves(meshes.param_shardings(mesh, abstract, names, meshes.AXES))
        for name, here, everywhere in zip(found, own, spread, strict=True):
            found[name].append(f"{tuple(here.spec)} {tuple(everywhere.spec)}")
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_called_shaped_and_placed_as_ever(preset):
    assert structure(preset) == json.loads(GOLDEN.read_text())[preset]


def test_on_eight_devices_hardly_anything_is_whole_on_each():
    """Bytes of the state fall with the number of chips."""
    _, abstract, names = network.graph(network.Denoiser, with_preset("14B"))
    mesh = meshes.make_mesh(meshes.MeshConfig(data=2, fsdp=2, context=1, tensor=2))
    places = meshes.param_shardings(mesh, abstract, names, meshes.AXES)
    pairs = list(zip(jax.tree.leaves(abstract), jax.tree.leaves(places), strict=True))
    whole = sum(leaf.size for leaf, _ in pairs)
    here = sum(math.prod(place.shard_shape(leaf.shape)) for leaf, place in pairs)
    assert here < 1.01 * whole / 8


if __name__ == "__main__":
    from tests import conftest  # noqa: F401  eight devices

    found = {name: structure(name) for name in PRESETS}
    rows = {
        name: ",\n".join(f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in leaves.items())
        for name, leaves in found.items()
    }
    parts = ",\n".join(f" {json.dumps(name)}: {{\n{text}\n }}" for name, text in rows.items())
    GOLDEN.write_text(f"{{\n{parts}\n}}\n")
