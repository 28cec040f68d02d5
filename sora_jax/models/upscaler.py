"""A small network that doubles the size of pictures: what Lanczos gives, and a learned residual.

Residual learning over a fixed enlargement (Kim et al. 2016) with the layers at the small size and
one rearrangement of channels into pixels at the end (Shi et al. 2016).
"""

import dataclasses
import itertools

import jax
from einops import rearrange
from flax import nnx

from sora_jax.arrays import Array, Float
from sora_jax.models.layers import Conv

FACTOR = 2
_LANCZOS_REACH = 4  # rows of the small picture that one of the large one depends on, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscalerConfig:
    width: int = 16  # channels of the layers between
    depth: int = 4  # convolutions of 3x3, the first and the last among them

    def __post_init__(self):
        if self.width < 1 or self.depth < 2:
            raise ValueError(f"width {self.width}, depth {self.depth}; give at least 1 and 2")

    @property
    def reach(self) -> int:
        """Rows and columns to each side that a pixel of the output depends on."""
        return max(self.depth, _LANCZOS_REACH)


class Upscaler(nnx.Module):
    """Pictures in [-1, 1] at twice the size. It starts as Lanczos: the last layer is 0."""

    def __init__(self, cfg: UpscalerConfig, *, rngs: nnx.Rngs):
        widths = [3, *[cfg.width] * (cfg.depth - 1)]
        names = ("channels_in", "channels_out")
        self.layers = nnx.Dict(
            {
                str(i): Conv(size, names, rngs=rngs, dtype="float32", scale=2**0.5)
                for i, size in enumerate(itertools.pairwise(widths))
            }
        )
        self.last = Conv((cfg.width, 3 * FACTOR**2), names, rngs=rngs, dtype="float32", scale=0.0)

    def __call__(self, x: Float[Array, "B H W 3"]) -> Float[Array, "B 2*H 2*W 3"]:
        hidden = x
        for i in range(len(self.layers)):
            hidden = jax.nn.relu(self.layers[str(i)](hidden))
        detail = rearrange(
            self.last(hidden), "b h w (i j c) -> b (h i) (w j) c", i=FACTOR, j=FACTOR
        )
        return lanczos(x) + detail


def lanczos(x: Float[Array, "B H W 3"]) -> Float[Array, "B 2*H 2*W 3"]:
    """Twice the size by Lanczos' filter of three lobes: what is to be beaten."""
    size = x.shape[0], FACTOR * x.shape[1], FACTOR * x.shape[2], x.shape[3]
    return jax.image.resize(x, size, "lanczos3")
