"""If these fail, samples are not from the distribution that the network describes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.canvas import TARGET, Canvas
from sora_jax.data.geometry import clip_geometry
from sora_jax.diffusion import canvas as rules
from sora_jax.diffusion import guidance, sampler, solvers
from sora_jax.diffusion.grids import sigma_grid

GRID = (3, 2, 2)
MEAN, STD = 1.5, 0.5


def make_canvas(known=None, *, batch=2, channels=4, bits=4):
    """Build canvases of one clip a row. `known` is bool (L,)."""
    clip = clip_geometry(GRID, fps=8.0, size=(16, 16))
    length = len(clip.index)
    known = np.zeros(length, bool) if known is None else known
    cond = jax.random.normal(jax.random.key(9), (batch, length, channels)) * known[:, None]
    arrays = dict(
        known=np.repeat(known[:, None], bits, axis=1).astype(np.float32),
        position=clip.position,
        role=np.full(length, TARGET, np.int32),
        segment=np.zeros(length, np.int32),
        frame=clip.frame,
        frame_segment=np.zeros(GRID[0], np.int32),
        frame_seconds=clip.frame_seconds,
        meta=clip.meta,
        text=np.ones(3, np.int32),
        text_segment=np.zeros(3, np.int32),
        text_span=np.tile(np.float32([0, 1e6]), (3, 1)),
    )
    rows = {name: jnp.broadcast_to(a, (batch, *a.shape)) for name, a in arrays.items()}
    return Canvas(cond=cond, **rows)


def gaussian_denoiser(canvas, mean=MEAN, std=STD):
    """E[x0 | x_t] for independent data N(mean, std^2)."""

    def denoise(xt, sigma):
        level = jnp.take_along_axis(sigma, canvas.frame, axis=1)[..., None]
        total = ((1 - level) * std) ** 2 + level**2
        slope = (1 - level) * std**2 / total
        return mean + slope * (xt - (1 - level) * mean)

    return denoise


def run(canvas, solver, steps, *, denoise=None, seed=0):
    noise = jax.random.normal(jax.random.key(seed), canvas.cond.shape)
    grid = sigma_grid(steps, 1.0)
    denoise = denoise or gaussian_denoiser(canvas)
    path = sampler.Path.from_noise(grid, canvas)
    start = jnp.zeros_like(noise)
    return noise, sampler.sample(denoise, start, noise, canvas, path, solver=solver)


def error(solver, steps):
    """Largest distance to the exact solution, mean + std * noise, of a Gaussian's flow."""
    noise, x = run(make_canvas(), solver, steps)
    return float(jnp.abs(x - (MEAN + STD * noise)).max())


@pytest.mark.parametrize(
    ("solver", "limit"), [("euler", 0.05), ("heun", 5e-3), ("multistep", 5e-3)]
)
def test_solvers_follow_the_closed_form_of_a_gaussian(solver, limit):
    assert error(solver, 64) < limit


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("multistep", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver, order):
    measured = np.log2(error(solver, 64) / error(solver, 128))
    assert order - 0.4 < measured < order + 0.4


@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_sampling_recovers_a_gaussian(solver):
    """For data N(mu, s^2) samples from normal noise must have that mean and spread."""
    canvas = make_canvas(batch=64, channels=32)
    _, x = run(canvas, solver, 32)
    np.testing.assert_allclose([x.mean(), x.std()], [MEAN, STD], atol=0.02)


@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_known_tokens_come_out_exactly_as_given(solver):
    known = np.arange(12) % 3 == 0
    canvas = make_canvas(known)
    noise, x = run(canvas, solver, 5)
    np.testing.assert_array_equal(x[:, known], canvas.cond[:, known])
    _, free = run(make_canvas(), solver, 5)
    np.testing.assert_array_equal(x[:, ~known], free[:, ~known])


def test_the_network_sees_known_tokens_clean_and_known_frames_at_zero():
    known = np.zeros(12, bool)
    known[:4] = True  # the whole first chunk
    known[5] = True  # one token of the second
    canvas = make_canvas(known)
    seen = []

    def denoise(xt, sigma):
        jax.debug.callback(lambda x, s: seen.append((np.array(x), np.array(s))), xt, sigma)
        return xt * 0

    run(canvas, "heun", 3, denoise=denoise)
    jax.effects_barrier()
    assert len(seen) == 5  # two a step, and one for the step to 0
    for xt, sigma in seen:
        np.testing.assert_array_equal(xt[:, known], canvas.cond[:, known])
        assert not sigma[:, 0].any() and (sigma[:, 1:] > 0).all()


def test_frames_without_a_token_to_make_have_no_noise():
    known = np.zeros(12, bool)
    known[4:8] = True
    canvas = make_canvas(known)
    np.testing.assert_array_equal(rules.frame_factor(canvas), [[1, 0, 1]] * 2)
    padding = canvas.replace(role=jnp.full_like(canvas.role, 2))
    assert not rules.frame_factor(padding).any()


def test_partly_known_tokens_are_not_known():
    canvas = make_canvas(np.ones(12, bool))
    partly = canvas.replace(known=canvas.known.at[0, 3, 1].set(0))
    assert not rules.known_tokens(partly)[0, 3] and rules.known_tokens(partly).sum() == 23


def test_scale_one_is_the_conditional_estimate_and_runs_nothing_else():
    def forbidden(xt, sigma):
        raise AssertionError("the unconditional network must not run")

    cond = gaussian_denoiser(make_canvas())
    off = guidance.Guidance(scale=1.0, interval=(0.2, 0.4)).strength()
    assert guidance.make_guided(cond, forbidden, off) is cond
    a, b = jax.random.normal(jax.random.key(0), (2, 1, 5, 3))
    np.testing.assert_array_equal(guidance.guide(a, b, 1.0, 0.7), a)


def test_guidance_extrapolates_and_rescale_restores_the_spread():
    cond, uncond = jax.random.normal(jax.random.key(0), (2, 2, 50, 3))
    np.testing.assert_allclose(
        guidance.guide(cond, uncond, 3.0, 0.0), uncond + 3 * (cond - uncond), rtol=1e-5
    )
    full = guidance.guide(cond, uncond, 3.0, 1.0)
    np.testing.assert_allclose(full.std(axis=(1, 2)), cond.std(axis=(1, 2)), rtol=1e-4)
    half = guidance.guide(cond, uncond, 3.0, 0.5)
    plain = guidance.guide(cond, uncond, 3.0, 0.0)
    np.testing.assert_allclose(half, (full + plain) / 2, rtol=1e-4, atol=1e-5)


def test_guidance_acts_inside_its_interval_only():
    canvas = make_canvas()
    cond, uncond = gaussian_denoiser(canvas), gaussian_denoiser(canvas, mean=-1.0)
    strength = guidance.Guidance(scale=2.0, interval=(0.3, 0.6)).strength()
    guided = guidance.make_guided(cond, uncond, strength)
    xt = jax.random.normal(jax.random.key(0), canvas.cond.shape)
    for level, is_inside in [(0.1, False), (0.3, True), (0.5, True), (0.7, False)]:
        sigma = jnp.full((2, 3), level).at[:, 0].set(0)  # a known frame does not hide the level
        expected = cond(xt, sigma)
        if is_inside:
            expected = uncond(xt, sigma) + 2 * (expected - uncond(xt, sigma))
        np.testing.assert_allclose(guided(xt, sigma), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"interval": (0.5, 0.5)}, {"interval": (0.0, 1.5)}, {"rescale": 2.0}, {"scale": -1.0}]
)
def test_impossible_guidance_is_refused(bad):
    with pytest.raises(ValueError, match=str(next(iter(bad)))):
        guidance.Guidance(**bad)


def test_an_unknown_solver_names_the_known_ones():
    with pytest.raises(ValueError, match="'rk4'.*euler, heun, multistep"):
        solvers.get("rk4")
