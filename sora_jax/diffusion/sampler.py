"""The sampling loop: from noise to latents, with known tokens held."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float
from sora_jax.canvas import Canvas
from sora_jax.diffusion import canvas as rules
from sora_jax.diffusion import solvers

Denoise = Callable[[Float[Array, "B L P"], Float[Array, "B F"]], Float[Array, "B L P"]]


def sample(
    denoise: Denoise,
    x: Float[Array, "B L P"],
    canvas: Canvas,
    grid: Float[Array, " N"],
    *,
    solver: str,
) -> Float[Array, "B L P"]:
    """Solve from `x` at level grid[0] down to grid[-1] = 0.

    `denoise(x_t, sigma)` estimates x0 given the noise level of each latent frame, which is 0 for
    frames that are known throughout. Known tokens enter every evaluation, and leave, as given.
    """
    step = solvers.get(solver)
    frame_factor = rules.frame_factor(canvas)
    factor = jnp.take_along_axis(frame_factor, canvas.frame, axis=1)[..., None]

    def estimate(x, sigma):
        return denoise(rules.impose(x, canvas), sigma * frame_factor)

    def advance(carry, levels):
        x, memory = carry
        x, memory = step(estimate, x, levels[0], levels[1], factor, memory)
        return (rules.impose(x, canvas), memory), None

    x = rules.impose(x, canvas)
    levels = jnp.stack([grid[:-1], grid[1:]], axis=-1)
    (x, _), _ = jax.lax.scan(advance, (x, solvers.init_memory(x)), levels)
    return x
