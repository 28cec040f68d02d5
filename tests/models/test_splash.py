"""The TPU kernels, interpreted on the CPU, against plain softmax attention in float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import attention, splash
from sora_jax.models.attention import Keys, Queries
from sora_jax.models.splash_kernels import Blocks

SMALL = splash.Tuning(
    forward=Blocks(query=128, key=256, step=128),
    backward=Blocks(query=128, key=256, step=128),
    span=128,
    vmem=2**20,
)
KERNELS = splash.Splash(tuning=SMALL, interpret=True)
# Relative to the largest value; a bfloat16 number alone is off by up to 2e-3 of itself, so there
# the mean error counts.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-3}


@dataclasses.dataclass
class Example:
    """Two rows of sorted segments, not a multiple of any block; one query sees no key."""

    dtype: str
    has_spans: bool = False

    def __post_init__(self):
        rng, (queries, keys) = np.random.default_rng(0), (200, 270)
        self.q, self.k, self.v, self.grad = (
            jnp.asarray(rng.normal(size=(2, length, 2, 32)), self.dtype)
            for length in (queries, keys, keys, queries)
        )
        segment, self.key_segment = (
            np.sort(rng.integers(0, 3, (2, length)), 1) for length in (queries, keys)
        )
        segment[0, -1] = 7
        self.segment, start = segment, rng.uniform(0, 2, (2, keys, 1))
        self.seconds = jnp.asarray(rng.uniform(0, 4, (2, queries)), jnp.float32)
        self.span = jnp.asarray(np.concatenate([start, start + 2], -1), jnp.float32)

    def queries(self, q) -> Queries:
        return Queries(q=q, segment=jnp.asarray(self.segment), seconds=self.seconds)

    def keys(self, k, v, at: slice = slice(None)) -> Keys:
        segment, span = jnp.asarray(self.key_segment[:, at]), self.span[:, at]
        return Keys(k=k[:, at], v=v[:, at], segment=segment, span=span if self.has_spans else None)

    def reference(self, q, k, v):
        """The definition, pair by pair; a query that sees no key gives 0."""
        q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
        logits = jnp.einsum("blnk,bmnk->bnlm", q, k, precision="highest") * q.shape[-1] ** -0.5
        logits += attention.bias(self.queries(q), self.keys(k, v))[:, None]
        same = (self.segment[:, :, None] == self.key_segment[:, None])[:, None]
        weights = jax.nn.softmax(logits, -1) * same
        return jnp.einsum("bnlm,bmnk->blnk", weights, v, precision="highest")

    def both_ways(self, function):
        """The output and all gradients, in one program."""

        @jax.jit
        def run(arrays, grad):
            out, back = jax.vjp(function, *arrays)
            return out, *back(grad.astype(out.dtype))

        return run((self.q, self.k, self.v), self.grad)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("has_spans", [False, True])
def test_kernels_equal_the_definition_both_ways(dtype, has_spans):
    """Over several blocks, with packed segments, and two spans of queries on the way back."""
    example = Example(dtype, has_spans)

    def ours(q, k, v):
        return splash.attend(example.queries(q), example.keys(k, v), splash=KERNELS)

    wanted = example.both_ways(example.reference)
    for found, right in zip(example.both_ways(ours), wanted, strict=True):
        error = np.abs(np.asarray(found, np.float32) - np.asarray(right, np.float32))
        worst = error.max() if dtype == "float32" else error.mean()
        assert worst < TOLERANCE[dtype] * np.abs(np.asarray(right, np.float32)).max()


def test_groups_of_keys_share_one_softmax_both_ways():
    """Keys in two groups are the keys in one: log-sums and their gradients are right."""
    example = Example("float32")

    def split(q, k, v):
        groups = [example.keys(k, v, at) for at in (slice(0, 100), slice(100, None))]
        return splash.attend(example.queries(q), *groups, splash=KERNELS)

    wanted = example.both_ways(example.reference)
    for found, right in zip(example.both_ways(split), wanted, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-5 * float(jnp.abs(right).max()))


def test_remat_that_keeps_attention_does_not_run_the_kernel_again():
    example = Example("float32")

    def loss(q, policy):
        def part(q):
            keys = example.keys(example.k, example.v)
            return jnp.sum(splash.attend(example.queries(q), keys, splash=KERNELS) ** 2)

        return jax.checkpoint(part, policy=policy)(q)

    def runs(policy):
        program = jax.make_jaxpr(jax.grad(loss), static_argnums=1)(example.q, policy)
        return str(program).count("name=splash_forward")

    policies = jax.checkpoint_policies
    assert runs(policies.nothing_saveable) == 2
    assert runs(policies.save_only_these_names("attention")) == 1
