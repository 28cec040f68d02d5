"""If these fail, the network is trained for one quantity and sampled as if it gave another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion import flow
from sora_jax.diffusion.precondition import PREDICTIONS, denoise, loss_weight, precondition

SHAPE = (2, 5, 3)


@pytest.fixture
def path():
    x0, noise = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    sigma = jax.random.uniform(jax.random.key(1), (2, 5, 1), minval=0.1, maxval=0.9)
    return x0, noise, sigma, flow.add_noise(x0, noise, sigma)


def test_every_conversion_comes_back(path):
    x0, noise, sigma, xt = path
    v = flow.velocity(x0, noise)
    expected = {
        "x0_from_velocity": x0,
        "noise_from_velocity": noise,
        "velocity_from_x0": v,
        "noise_from_x0": noise,
        "x0_from_noise": x0,
        "velocity_from_noise": v,
    }
    given = {"x0": x0, "noise": noise, "velocity": v}
    for name, wanted in expected.items():
        result = getattr(flow, name)(given[name.split("_from_")[1]], xt, sigma)
        np.testing.assert_allclose(result, wanted, atol=2e-5, err_msg=name)


def test_the_path_begins_at_data_and_ends_at_noise(path):
    x0, noise, _, _ = path
    np.testing.assert_array_equal(flow.add_noise(x0, noise, jnp.zeros((1, 1, 1))), x0)
    np.testing.assert_array_equal(flow.add_noise(x0, noise, jnp.ones((1, 1, 1))), noise)


def test_velocity_is_the_derivative_of_the_path(path):
    x0, noise, sigma, _ = path
    _, slope = jax.jvp(lambda s: flow.add_noise(x0, noise, s), (sigma,), (jnp.ones_like(sigma),))
    np.testing.assert_allclose(slope, flow.velocity(x0, noise), atol=1e-6)


@pytest.mark.parametrize(
    ("convert", "level"),
    [
        (flow.velocity_from_x0, 0.0),
        (flow.noise_from_x0, 0.0),
        (flow.x0_from_noise, 1.0),
        (flow.velocity_from_noise, 1.0),
    ],
)
def test_where_nothing_is_known_conversions_and_gradients_are_finite(path, convert, level):
    x0, _, _, xt = path
    at_level = jnp.full((1, 1, 1), level)
    assert not np.any(convert(x0, xt, at_level))
    gradient = jax.grad(lambda s: convert(x0, xt, s).sum())(at_level)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("sigma", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_network_sees_and_gives_unit_variance(sigma, prediction):
    variance = jnp.array([0.01, 1.0, 25.0])
    unit = jax.random.normal(jax.random.key(0), (2, 200_000, 3))
    x0, noise = unit[0] * jnp.sqrt(variance), unit[1]
    level = jnp.full((1, 1), sigma)
    xt = flow.add_noise(x0, noise, level)
    scales = precondition(level, variance, prediction)
    raw = (x0 - scales.c_skip * xt) / scales.c_out
    np.testing.assert_allclose(jnp.std(scales.c_in * xt, axis=0), 1, atol=0.01)
    np.testing.assert_allclose(jnp.std(raw, axis=0), 1, atol=0.01)
    np.testing.assert_allclose(denoise(raw, xt, level, variance, prediction), x0, atol=1e-4)


def test_a_silent_network_gives_the_best_linear_guess():
    """With raw = 0 the estimate is E[x0 | x_t] of a Gaussian: the least possible error."""
    variance, level = jnp.array([4.0]), jnp.full((1, 1), 0.6)
    unit = jax.random.normal(jax.random.key(0), (2, 100_000, 1))
    x0 = 2 * unit[0]
    xt = flow.add_noise(x0, unit[1], level)
    guess = denoise(jnp.zeros_like(xt), xt, level, variance)
    slope = jnp.mean(x0 * xt) / jnp.mean(xt**2)
    np.testing.assert_allclose(guess, slope * xt, rtol=0.02, atol=1e-6)


def test_clean_tokens_come_out_as_they_went_in():
    xt = jax.random.normal(jax.random.key(0), (4, 3))
    raw = jax.random.normal(jax.random.key(1), (4, 3))
    for prediction in PREDICTIONS:
        out = denoise(raw, xt, jnp.zeros((1, 1)), jnp.array([0.1, 1.0, 9.0]), prediction)
        np.testing.assert_allclose(out, xt, rtol=1e-6)


def test_velocity_weight_turns_x0_error_into_velocity_error(path):
    x0, noise, sigma, xt = path
    wrong = x0 + 0.3
    x0_error = (wrong - x0) ** 2
    velocity_error = (flow.velocity_from_x0(wrong, xt, sigma) - flow.velocity(x0, noise)) ** 2
    weighted = loss_weight(sigma, "velocity", 1e9) * x0_error
    np.testing.assert_allclose(weighted, velocity_error, rtol=1e-3)


@pytest.mark.parametrize("space", ["x0", "velocity"])
def test_weights_fall_with_noise_from_the_clip_to_one(space):
    weight = loss_weight(jnp.linspace(0, 1, 50), space, 4.0)
    assert weight[0] == 4 and weight[-1] == 1
    assert np.all(np.diff(weight) <= 0) and np.all(np.isfinite(weight))


def test_unknown_choices_name_the_known_ones():
    with pytest.raises(ValueError, match="'eps'.*velocity"):
        precondition(jnp.ones((1, 1)), jnp.ones(1), "eps")
    with pytest.raises(ValueError, match="'eps'.*velocity"):
        loss_weight(jnp.ones(1), "eps", 1.0)
