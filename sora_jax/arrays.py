"""Array types, and the legend of their letters.

B batch (rows), T frames, H height, W width, C channels, L tokens of a row, P values of a latent
patch, K known-bits of a token, F latent frames of a row, S text tokens of a row, D width, N heads,
n h w the latent grid (chunks, rows, columns), M meta values. `Float["B L D"]` is any floating dtype.
"""

import jax
import jaxtyping


class _Of:
    """`Float["B T"]` for `jaxtyping.Float[jax.Array, "B T"]`."""

    def __init__(self, kind):
        self._kind = kind

    def __getitem__(self, shape: str):
        return self._kind[jax.Array, shape]


Float = _Of(jaxtyping.Float)
Int = _Of(jaxtyping.Int)
Bool = _Of(jaxtyping.Bool)
Key = jaxtyping.PRNGKeyArray
Scalar = jaxtyping.Float[jax.Array, ""]
Params = dict  # nested, string keys, jax arrays at the leaves
