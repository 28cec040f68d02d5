"""The canvas: a packed row of tokens in which geometry and task are data.

One row holds one clip or several (`segment` keeps them apart); every Sora tool is a choice of what
is `known` on a canvas. Latent frames are listed in a table of the row (`frame` points a token into
it), because noise levels and modulation belong to latent frames, not to tokens.
"""

import dataclasses

import jax

from sora_jax.arrays import Array, Float, Int

TARGET, REFERENCE, PADDING = 0, 1, 2  # values of `Canvas.role`
META = ("fps", "seconds", "motion", "aesthetic", "loop")  # columns of `Canvas.meta`


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas:
    """Everything the transformer sees except the noisy latents and their noise levels."""

    cond: Float[Array, "B L P"]
    """Clean latents where known, else 0."""
    known: Float[Array, "B L K"]
    """Known-mask in [0, 1]: one bit for each frame of the chunk."""
    position: Float[Array, "B L 3"]
    """(seconds, y, x); y and x in units of the clip's mean side, 0 at the centre."""
    role: Int[Array, "B L"]
    segment: Int[Array, "B L"]
    """Number of the clip in its row, from 0; attention stays within it. Padding has -1."""
    frame: Int[Array, "B L"]
    """Index of the token's latent frame in the row's table of F latent frames."""
    frame_segment: Int[Array, "B F"]
    frame_seconds: Float[Array, "B F"]
    """Time of the middle of each latent frame within its clip."""
    meta: Float[Array, "B F M"]
    text: Int[Array, "B S"]
    """Token ids; 0 is padding."""
    text_segment: Int[Array, "B S"]
    text_span: Float[Array, "B S 2"]
    """[start, end) seconds of the caption that the token belongs to."""

    def replace(self, **changes) -> "Canvas":
        return dataclasses.replace(self, **changes)
