"""Digests of arrays that say whether a restored state is the saved one.

Orbax stores no checksum of array data: a flipped bit loads in silence. A digest is two sums modulo
2^32 of an array's words, each times an odd number that its place decides. Sums of integers do not
depend on order, so a digest is the same on every mesh. A change of one bit always changes it: 2^k
times an odd number is not 0 modulo 2^32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.arrays import Array

FORMAT = 2  # digests of another one can't be compared
_SALTS = (0x9E3779B1, 0x85EBCA77)  # one for each sum
_STRIDES = (0x27D4EB2F, 0x165667B1, 0x9E3779B1, 0xC2B2AE3D, 0x2545F491, 0x5BD1E995)  # odd, by dim


def digests(tree: Any) -> dict[str, list[int]]:
    """Two 32-bit numbers for each leaf, by its path; computed where the leaves live."""
    sums = jax.device_get(_pairs(tree))
    return {
        path_name(path): [int(word) for word in value]
        for path, value in jax.tree.leaves_with_path(sums)
    }


def path_name(path: tuple) -> str:
    """`params.dit.blocks.up.kernel`, whatever containers lie on the way."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def array_digest(array: Array) -> Array:
    """One 32-bit number for an array, for use under jit; the same on every mesh."""
    return _pair(array)[0]


@jax.jit  # of all at once: between processes their sums go together
def _pairs(tree: Any) -> Any:
    return jax.tree.map(_pair, tree)


@jax.jit  # traced once for all leaves of a shape: parameters, EMA and moments have the same
def _pair(leaf: Array) -> Array:
    words = _words(leaf)
    place = jnp.zeros(words.shape, jnp.uint32)
    for dim in range(words.ndim):
        index = jax.lax.broadcasted_iota(jnp.uint32, words.shape, dim)
        place = place + index * jnp.uint32(_STRIDES[dim])
    sums = [
        jnp.sum(words * (_mix(place ^ jnp.uint32(salt)) | 1), dtype=jnp.uint32) for salt in _SALTS
    ]
    return jnp.stack(sums)


def _words(leaf: Array) -> Array:
    """The bits of each value as an unsigned integer, widened to 32."""
    if jnp.issubdtype(leaf.dtype, jnp.bool_):
        return leaf.astype(jnp.uint32)
    bits = np.dtype(leaf.dtype).itemsize * 8
    return jax.lax.bitcast_convert_type(leaf, f"uint{bits}").astype(jnp.uint32)


def _mix(x: Array) -> Array:
    """A bijection of 32-bit words that spreads every bit (the finalizer of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
