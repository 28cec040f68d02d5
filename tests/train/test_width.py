"""Rates found at one width hold at another. If these fail, `base_width` means nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.network import Denoiser
from sora_jax.models.vae.vae import VAE
from sora_jax.train import dit_run, width
from sora_jax.train.objectives import build_canvas, dit_objective
from sora_jax.train.optimizer import OptimizerConfig, make_optimizer
from tests.train.helpers import TOKENIZER, tiny_clips, tiny_training

BASE = 32


def training(size: int, **rule):
    """The tiny model at a width, with heads of 16 throughout."""
    cfg = tiny_training()
    dit = dataclasses.replace(cfg.model.dit, width=size, num_heads=size // 16, depth=1)
    text = dataclasses.replace(cfg.model.text, width=size, num_heads=size // 16)
    model = dataclasses.replace(cfg.model, dit=dit, text=text)
    return dataclasses.replace(cfg, model=model, optimizer=OptimizerConfig(rate=1e-3, **rule))


def make_tx(cfg):
    _, shapes, names = network.graph(Denoiser, cfg.model)
    base = cfg.optimizer.base_width
    return make_optimizer(
        cfg.optimizer, factors=width.factors(shapes, names, base) if base else None
    )


def moved(cfg, steps: int = 3) -> float:
    """How far the output has gone after some updates: the root mean square of its change."""
    loss_fn, tx = dit_objective(cfg.model, cfg.diffusion), make_tx(cfg)
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    batches = jax.tree.map(lambda *parts: np.stack(parts), *(rows[i] for i in range(steps)))

    def output(params, batch):
        known = jnp.zeros(batch["segment"].shape, bool)
        drop = jnp.zeros(batch["needs_first"].shape, bool)
        canvas = build_canvas(batch, known, drop, cfg.model.known_bits)
        sigma = jnp.full(batch["frame_seconds"].shape, 0.6)
        return network.apply_dit(cfg.model, params, batch["tokens"], sigma, canvas)

    @jax.jit
    def change(params, batches, probe):
        def update(carry, batch):
            params, state = carry
            grads = jax.grad(loss_fn, has_aux=True)(params, batch, jax.random.key(0))[0]
            updates, state = tx.update(grads, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), None

        (after, _), _ = jax.lax.scan(update, (params, tx.init(params)), batches)
        return jnp.sqrt(jnp.mean(jnp.square(output(after, probe) - output(params, probe))))

    return float(change(network.init(Denoiser, cfg.model, jax.random.key(0)), batches, rows[9]))


@pytest.mark.parametrize("name", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_updates_move_the_output_as_far_at_every_width(name):
    """Four times the width, the same way; without the rule it goes much further (the control)."""
    base = moved(training(BASE, name=name))
    wide = moved(training(4 * BASE, name=name, base_width=BASE))
    plain = moved(training(4 * BASE, name=name))
    assert wide / base == pytest.approx(1, abs=0.35)
    assert plain / base > 2


def test_only_kernels_whose_inputs_grow_are_slowed():
    model = training(4 * BASE).model
    _, shapes, names = network.graph(Denoiser, model)
    found = width.factors(shapes, names, BASE)
    dit, text = found["dit"], found["text"]
    slowed = [dit["blocks"]["up"], dit["blocks"]["down"], dit["output"], dit["level"]]
    slowed += [dit["blocks"]["attention"]["qkv"], text["blocks"]["out"]]
    assert all(part["kernel"] == 0.25 and part["bias"] == 1 for part in slowed)
    assert all(dit[name]["kernel"] == 1 for name in ("input", "cond", "position", "sigma"))
    assert dit["role"] == dit["blocks"]["modulation"] == text["embedding"] == 1


def test_at_the_base_width_nothing_changes_and_decay_is_the_same_at_every_width():
    def updates(size: int = BASE, grads: float = 1.0, **rule):
        cfg = training(size, name="adamw", **rule)
        _, shapes, _ = network.graph(Denoiser, cfg.model)
        params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), shapes)
        tx = make_tx(cfg)
        return tx.update(jax.tree.map(lambda p: grads * p, params), tx.init(params), params)[0]

    plain, ruled = updates(), updates(base_width=BASE)
    jax.tree.map(np.testing.assert_array_equal, plain, ruled)
    decayed = updates(4 * BASE, grads=0.0, weight_decay=0.1, base_width=BASE)
    assert all(np.allclose(leaf, -1e-3 * 0.1 * 2) for leaf in jax.tree.leaves(decayed))


def test_a_network_without_a_width_is_refused():
    cfg = training(BASE)
    _, shapes, names = network.graph(VAE, cfg.model.vae)
    with pytest.raises(UsageError, match="base_width 64 is for the transformer"):
        width.factors(shapes, names, 64)
    with pytest.raises(ValueError, match="base_width is -1"):
        OptimizerConfig(base_width=-1)
