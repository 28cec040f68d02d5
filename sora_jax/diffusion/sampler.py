"""The sampling loop: from noise to latents, with known tokens held."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Int
from sora_jax.canvas import Canvas
from sora_jax.diffusion import canvas as rules
from sora_jax.diffusion import flow, solvers

Denoise = Callable[[Float[Array, "B L P"], Float[Array, "B F"]], Float[Array, "B L P"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Path:
    """The levels that a canvas walks down. All of it is data: another path is no other program."""

    grid: Float[Array, " N"]
    """Falling noise levels, the last one 0."""
    strength: Float[Array, "B F"]
    """Share of the grid's levels that each latent frame has: 1 begins at noise, 0 at what is."""
    rolls: Int[Array, " M"]
    """Latent frames that the row is turned by in each of the N - 1 steps; 0 for none.

    A row of one clip whose frames have as many tokens each, and nothing known.
    """

    @classmethod
    def from_noise(cls, grid: Float[Array, " N"], canvas: Canvas) -> "Path":
        """Every latent frame all the way down the grid, not turned."""
        return cls(
            grid=grid,
            strength=jnp.ones(canvas.frame_seconds.shape, jnp.float32),
            rolls=jnp.zeros(grid.shape[0] - 1, jnp.int32),
        )


def sample(
    denoise: Denoise,
    start: Float[Array, "B L P"],
    noise: Float[Array, "B L P"],
    canvas: Canvas,
    path: Path,
    *,
    solver: str,
) -> Float[Array, "B L P"]:
    """Solve from `start`, noised to each token's first level, down to data.

    `denoise(x_t, sigma)` estimates x0 given the noise level of each latent frame, which is 0 for
    frames that are known throughout. Known tokens enter every evaluation, and leave, as given.
    """
    step = solvers.get(solver)
    frame_factor = rules.frame_factor(canvas) * path.strength
    factor = jnp.take_along_axis(frame_factor, canvas.frame, axis=1)[..., None]
    per_frame = canvas.frame.shape[1] // canvas.frame_seconds.shape[1]

    def advance(carry, now):
        x, memory = carry
        sigma, sigma_next, roll = now

        def estimate(x, sigma):
            turned = jnp.roll(rules.impose(x, canvas), roll * per_frame, axis=1)
            x0 = denoise(turned, sigma * jnp.roll(frame_factor, roll, axis=1))
            return jnp.roll(x0, -roll * per_frame, axis=1)

        x, memory = step(estimate, x, sigma, sigma_next, factor, memory)
        return (rules.impose(x, canvas), memory), None

    x = rules.impose(flow.add_noise(start, noise, path.grid[0] * factor), canvas)
    steps = (path.grid[:-1], path.grid[1:], path.rolls)
    (x, _), _ = jax.lax.scan(advance, (x, solvers.init_memory(x)), steps)
    return x
