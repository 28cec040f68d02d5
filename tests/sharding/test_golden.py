"""Names, shapes and places of all parameters of a preset, as stored in golden_S.json.

If this fails, checkpoints and bundles no longer fit, or a parameter lies elsewhere than it did. If
that is wanted: `python -m tests.sharding.test_golden` stores what is.
"""

import json
from pathlib import Path

import jax

from sora_jax.models import network
from sora_jax.sharding.mesh import MeshConfig, make_mesh, param_shardings
from tests.models.test_presets import with_preset

GOLDEN = Path(__file__).with_name("golden_S.json")


def structure() -> dict[str, list]:
    """Of preset S over fsdp, context and tensor: name -> shape and axes of each dim."""
    _, abstract, names = network.graph(network.Denoiser, with_preset("S"))
    mesh = make_mesh(MeshConfig(fsdp=2, context=2, tensor=2))
    shardings = jax.tree.leaves(param_shardings(mesh, abstract, names))
    paths = jax.tree.leaves_with_path(abstract)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): [
            list(leaf.shape),
            [list(axes) if isinstance(axes, tuple) else axes for axes in sharding.spec],
        ]
        for (path, leaf), sharding in zip(paths, shardings, strict=True)
    }


def test_parameters_have_the_names_shapes_and_places_that_are_stored():
    assert structure() == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in structure().items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
