"""Rates that hold at every width: muP's rule for Adam (Yang et al. 2022, table 8).

An update of Adam has the same size in every entry, so what a kernel adds to its output grows with
the number of its inputs. Divided by it, the rate that is best at one width is best at the others.
Only kernels whose inputs grow with the width are meant: not those of latents, positions or noise
levels, not biases and tables. Muon's updates have a fixed spectral norm, which transfers as it is.
The other half of the rule holds anyway: hidden kernels start at 1 / sqrt(inputs), outputs at 0.
"""

from typing import Any

import jax
import optax

from sora_jax.arrays import Params
from sora_jax.errors import UsageError

WIDTH = "embed"  # the logical axis that is called the width


def factors(shapes: Params, names: Any, base_width: int) -> Params:
    """What Adam's rate of each parameter is multiplied by: base_width / width, or 1.

    `names` are the logical axes, as of `network.graph`. Raises UsageError for a network of which
    nothing has a width.
    """

    def find(path: tuple, leaf: Any, spec: Any) -> float:
        # The last dim of a kernel is its output, the one before its input.
        axes = tuple(spec)
        if path[-1].key != "kernel" or axes[-2] is None or WIDTH not in axes:
            return 1.0
        return base_width / leaf.shape[axes.index(WIDTH)]

    if not any(WIDTH in tuple(spec) for spec in jax.tree.leaves(names)):
        raise UsageError(
            f"optimizer.base_width {base_width} is for the transformer, and nothing of this "
            "network has such a width; set it to 0"
        )
    return jax.tree.map_with_path(find, shapes, names)


def scale(by: Params) -> optax.GradientTransformation:
    """Updates times `by`; parts of the tree that another optimizer has are left alone."""

    def update(updates: Any, state: Any, _params: Any = None):
        scaled = jax.tree.map(
            lambda u, factor: u if isinstance(u, optax.MaskedNode) else factor * u,
            updates,
            by,
            is_leaf=lambda u: isinstance(u, optax.MaskedNode),
        )
        return scaled, state

    return optax.GradientTransformation(lambda _params: optax.EmptyState(), update)
