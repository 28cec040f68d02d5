"""Latents <-> tokens."""

from einops import rearrange

from sora_jax.arrays import Array, Float

type Triple = tuple[int, int, int]


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
