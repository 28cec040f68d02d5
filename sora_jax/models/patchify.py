"""Latents <-> tokens."""

import math

import jax.numpy as jnp
from einops import rearrange

from sora_jax.arrays import Array, Float, Int

type Triple = tuple[int, int, int]


def grid_of(latents_grid: Triple, patch: Triple) -> Triple:
    """Tokens along (frames, rows, columns). Raises ValueError if the patch does not divide."""
    if any(size % step for size, step in zip(latents_grid, patch, strict=True)):
        raise ValueError(f"latent grid {latents_grid} is not a multiple of the patch {patch}")
    t, h, w = (size // step for size, step in zip(latents_grid, patch, strict=True))
    return t, h, w


def to_tokens(latents: Float[Array, "B n h w C"], patch: Triple) -> Float[Array, "B L P"]:
    """Cut into patches, in the order frames, rows, columns."""
    p, q, r = patch
    return rearrange(latents, "b (t p) (h q) (w r) c -> b (t h w) (p q r c)", p=p, q=q, r=r)


def from_tokens(
    tokens: Float[Array, "B L P"], grid: Triple, patch: Triple
) -> Float[Array, "B n h w C"]:
    """Inverse of `to_tokens` for tokens on `grid`."""
    (t, h, w), (p, q, r) = grid, patch
    return rearrange(
        tokens, "b (t h w) (p q r c) -> b (t p) (h q) (w r) c", t=t, h=h, w=w, p=p, q=q, r=r
    )


def token_index(grid: Triple) -> Int[Array, "L 3"]:
    """Integer coordinates (frame, row, column) of the tokens of `grid`."""
    flat = jnp.arange(math.prod(grid))
    return jnp.stack(jnp.unravel_index(flat, grid), -1)
