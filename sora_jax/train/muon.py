"""Muon: momentum, made orthogonal for each matrix (Jordan et al. 2024), a shape at a time.

The numbers are those of `optax.contrib.muon` with "aol" as first iteration (Boissin et al. 2025).
What differs is how the work lies: matrices of one shape, of all layers and of either orientation,
are one stack, which `spread` may divide over devices, so that none does what another does.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sora_jax.arrays import Array, Float

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
BETA = 0.95  # of the momentum

type Spread = Callable[[Float[Array, "G i o"]], Float[Array, "G i o"]]


class MuonState(NamedTuple):
    """Momentum, and how many updates there were."""

    count: Any
    mu: Any


def muon(
    rate: float, ns_steps: int, spread: Spread = lambda stack: stack
) -> optax.GradientTransformation:
    """Updates of a tree whose leaves are matrices, or stacks of them along leading dims."""

    def init(params: Any) -> MuonState:
        return MuonState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(grads: Any, state: MuonState, params: Any = None):
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: BETA * m + (1 - BETA) * g, state.mu, grads)
        # Nesterov's look ahead, with the bias of a young average taken out.
        ahead, now = 1 - BETA ** (count + 1), 1 - BETA**count
        looked = jax.tree.map(lambda m, g: BETA * m / ahead + (1 - BETA) * g / now, mu, grads)
        updates = jax.tree.map(
            lambda u: -rate * max(1, u.shape[-1] / u.shape[-2]) ** 0.5 * u,
            orthogonal(looked, ns_steps, spread),
        )
        return updates, MuonState(count, mu)

    return optax.GradientTransformation(init, update)


def orthogonal(tree: Any, ns_steps: int, spread: Spread = lambda stack: stack) -> Any:
    """Each matrix of `tree` with its singular values brought near 1."""
    leaves, structure = jax.tree.flatten(tree)
    groups = collections.defaultdict(list)
    for number, leaf in enumerate(leaves):
        groups[tuple(sorted(leaf.shape[-2:]))].append(number)
    done: dict[int, Array] = {}
    for numbers in groups.values():
        stacks = [_wide(leaves[number]) for number in numbers]
        out = newton_schulz(spread(jnp.concatenate(stacks)), ns_steps)
        start = 0
        for number, stack in zip(numbers, stacks, strict=True):
            part, shape = out[start : start + len(stack)], leaves[number].shape
            part = jnp.swapaxes(part, 1, 2) if shape[-2] > shape[-1] else part
            done[number] = part.reshape(shape)
            start += len(stack)
    return jax.tree.unflatten(structure, [done[number] for number in range(len(leaves))])


def newton_schulz(x: Float[Array, "G i o"], steps: int) -> Float[Array, "G i o"]:
    """Singular values of each i x o matrix (i <= o) toward 1, about 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    for step in range(steps):
        square = jnp.einsum("gio,gjo->gij", x, x)
        if step == 0:
            scale = jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.abs(square), -1), 1e-8))
            x, square = x * scale[:, :, None], square * scale[:, :, None] * scale[:, None, :]
        x = a * x + jnp.matmul(b * square + c * jnp.matmul(square, square), x)
    return x


def _wide(x: Array) -> Float[Array, "G i o"]:
    """All matrices of a leaf in one stack, none higher than wide."""
    x = x.reshape(-1, *x.shape[-2:])
    return jnp.swapaxes(x, 1, 2) if x.shape[1] > x.shape[2] else x
