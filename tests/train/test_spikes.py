"""A gradient that is far larger than those before it moves the run no more than they did."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sora_jax.train import optimizer


def run_through(norms, factor=4.0, memory=20):
    """Norms of gradients before and after the bound, and the last state."""
    tx = optimizer.clip_spikes(factor, memory)
    params = {"x": jnp.zeros(4)}
    state, after = tx.init(params), []
    for norm in norms:
        grads, state = tx.update({"x": jnp.full(4, norm / 2)}, state, params)
        after.append(float(optax.tree.norm(grads)))
    return np.array(after), state


def test_a_planted_spike_is_bounded_and_counted():
    norms = np.ones(60)
    norms[40] = 1000.0
    after, state = run_through(norms)
    assert after[40] == pytest.approx(4.0)
    np.testing.assert_allclose(np.delete(after, 40), 1.0, rtol=1e-6)
    assert int(state.spikes) == 1
    assert float(state.mean_norm) < 1.2  # the next one is judged as strictly


def test_nothing_is_bounded_before_enough_was_seen():
    after, state = run_through([1.0] * 5 + [1000.0])
    assert after[-1] == pytest.approx(1000.0)
    assert int(state.spikes) == 0


def test_a_lasting_rise_is_followed():
    """Ten times as large from some step on is bounded at first and whole again in the end."""
    after, _ = run_through([1.0] * 40 + [10.0] * 60)
    assert after[40] == pytest.approx(4.0)
    assert after[-1] == pytest.approx(10.0)


def test_what_is_not_finite_is_left_to_the_step():
    """It stays so, and the update is not applied."""
    after, _ = run_through([1.0] * 40 + [float("nan")])
    assert np.isnan(after[-1])


def test_without_a_bound_the_optimizer_is_what_it_was():
    """Off by default: the state has nothing in it that was not there before."""
    params = {"blocks": {"w": {"kernel": jnp.ones((4, 4))}}}
    plain = optimizer.OptimizerConfig()
    bounded = dataclasses.replace(plain, spike=10.0)
    states = [optimizer.make_optimizer(cfg).init(params) for cfg in (plain, bounded)]
    assert len(jax.tree.leaves(states[1])) == len(jax.tree.leaves(states[0])) + 3


def test_a_factor_that_bounds_everything_is_refused():
    with pytest.raises(ValueError, match="spike is 0.5 .* more than 1"):
        optimizer.OptimizerConfig(spike=0.5)
