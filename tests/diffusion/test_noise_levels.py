"""If these fail, training spends its steps at other noise levels than the configuration says."""

import dataclasses
from functools import partial
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion.grids import shift_sigma, sigma_grid
from sora_jax.diffusion.noise_levels import NoiseConfig, sample_sigma

POSITION = jnp.linspace(0, 1, 4)


def draw(num=4000, position=POSITION, **changes):
    cfg = dataclasses.replace(NoiseConfig(mean=2.0), **changes)
    keys = jax.random.split(jax.random.key(0), num)
    return np.asarray(_draw(keys, cfg, position))


@partial(jax.jit, static_argnums=1)
def _draw(keys, cfg, position):
    return jax.vmap(lambda key: sample_sigma(key, cfg, position))(keys)


def only(shape):
    return {f"{name}_share": float(name == shape) for name in ("one", "independent", "ramp")}


def test_levels_are_logit_normal_where_they_should_be():
    sigma = draw(**only("independent"), uniform_share=0.0)
    logit = np.log(sigma) - np.log1p(-sigma)
    assert abs(logit.mean() - 2.0) < 0.06 and abs(logit.std() - 1.6) < 0.06


def test_the_uniform_share_is_uniform():
    quantiles = np.quantile(draw(**only("one"), uniform_share=1.0)[:, 0], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.5, 0.9], atol=0.03)


def test_the_mixture_is_of_independent_draws():
    sigma = draw(8000, **only("one"), uniform_share=0.5)[:, 0]
    for level in (0.3, 0.6, 0.9):
        normal = NormalDist(2.0, 1.6).cdf(np.log(level / (1 - level)))
        assert abs((sigma < level).mean() - (level + normal) / 2) < 0.02


def test_a_shift_of_the_config_is_the_shift_of_the_grid():
    plain, shifted = (draw(**only("one"), uniform_share=0.0, shift=s) for s in (1.0, 3.0))
    np.testing.assert_allclose(shifted, shift_sigma(jnp.array(plain), 3.0), atol=1e-5)


def test_shapes_over_time_have_their_shares():
    sigma = draw()
    logit = np.log(sigma) - np.log1p(-sigma)
    steps = np.diff(logit, axis=1)
    is_one = np.all(np.abs(steps) < 1e-3, axis=1)
    is_line = np.ptp(steps, axis=1) < 1e-2
    is_tent = np.abs(steps[:, 0] + steps[:, 2]) < 1e-2
    assert abs(is_one.mean() - 0.5) < 0.03
    assert abs((is_line & ~is_one).mean() - 0.1) < 0.02
    assert abs((is_tent & ~is_one).mean() - 0.1) < 0.02


@pytest.mark.parametrize("shape", ["one", "independent", "ramp"])
def test_a_longer_table_leaves_the_draws_alone(shape):
    """Rows with other clips have longer tables; a clip's levels must not depend on its company."""
    padded = jnp.concatenate([POSITION, jnp.zeros(3)])
    alone, packed = draw(50, **only(shape)), draw(50, position=padded, **only(shape))[:, :4]
    # The compiler's vectors round the sigmoid another way than its scalars, in the last bit.
    np.testing.assert_allclose(alone, packed, rtol=1e-6)


def test_frames_draw_for_themselves():
    sigma = draw(**only("independent"))
    assert abs(np.corrcoef(sigma[:, 0], sigma[:, 1])[0, 1]) < 0.05


@pytest.mark.parametrize(
    "bad", [{"one_share": 0.9}, {"spread": 0.0}, {"uniform_share": 1.5}, {"shift": 0.0}]
)
def test_impossible_distributions_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        NoiseConfig(**bad)


@pytest.mark.parametrize("shift", [0.5, 1.0, 5.0])
def test_grids_fall_from_one_to_zero(shift):
    grid = sigma_grid(10, shift)
    assert grid.shape == (11,) and grid[0] == 1 and grid[-1] == 0
    assert np.all(np.diff(grid) < 0)


def test_a_shifted_grid_spends_more_steps_in_noise():
    assert sigma_grid(10, 5.0)[5] > sigma_grid(10, 1.0)[5] == 0.5


def test_a_grid_can_begin_part_of_the_way():
    grid = sigma_grid(4, 3.0, start=0.6)
    np.testing.assert_allclose(grid[0], 0.6, rtol=1e-6)
    assert grid[-1] == 0 and np.all(np.diff(grid) < 0)


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="steps 0"):
        sigma_grid(0, 1.0)
    with pytest.raises(ValueError, match="start 0"):
        sigma_grid(4, 1.0, start=0)
