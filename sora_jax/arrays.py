"""Array types, and the legend of their letters. The only importer of jaxtyping.

B batch (rows), T frames, H height, W width, C channels, L tokens of a row, P values of a latent
patch, K known-bits of a token, F latent frames of a row, S text tokens of a row, D width, N heads,
n h w the latent grid (chunks, rows, columns), M meta values.
"""

from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

type Key = PRNGKeyArray
type Scalar = Float[Array, ""]
type Params = dict  # nested, with string keys and arrays at the leaves

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Params", "Scalar"]
