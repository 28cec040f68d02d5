"""How far apart pictures are to the features of a frozen network.

Two networks, as pure functions of their weights (`export.features` reads those):

- `lpips_vgg`: LPIPS as published (Zhang et al. 2018, version 0.1): VGG16 up to relu5_3, features of
  unit length, squared differences weighted by the learned linear layers.
- `efficientnet_lite0`: a stand-in that a package carries. The same distance without learned
  weights, on the features of EfficientNet-lite0 (Tan & Le 2019). It is not LPIPS and is never
  called so.

Distances are differentiable; weights are meant to be closed over and never trained.
"""

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Float, Params

NETWORKS = ("lpips_vgg", "efficientnet_lite0")

# VGG16's convolutions by their place in its list of layers; a pool stands before each later group.
VGG_GROUPS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
VGG_WIDTHS = (64, 128, 256, 512, 512)
_SHIFT = (-0.030, -0.088, -0.188)  # LPIPS' scaling of pictures in [-1, 1]
_SCALE = (0.458, 0.448, 0.450)

# (repeats, kernel, stride, expansion, channels) of EfficientNet-lite0's stages after its stem.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE0_STEM, LITE0_HEAD = 32, 1280
_LITE0_TAPS = (0, 2, 4, 10)  # the last block at strides 2, 4, 8 and 16
# ImageNet's mean and spread in [0, 1], which the weights expect, for pictures in [-1, 1].
_MEAN = tuple(2 * value - 1 for value in (0.485, 0.456, 0.406))
_SPREAD = tuple(2 * value for value in (0.229, 0.224, 0.225))


def distance(
    name: str, params: Params, a: Float[Array, "B H W 3"], b: Float[Array, "B H W 3"]
) -> Float[Array, "B"]:
    """Distance of each pair of pictures in [-1, 1] by network `name`; 0 for equal ones.

    Sides are at least 16 pixels. Float32.
    """
    pictures = jnp.concatenate([a, b]).astype(jnp.float32)
    if name == "lpips_vgg":
        weights = [params["lin"][str(i)] for i in range(len(VGG_GROUPS))]
        taps = _vgg(params, pictures)
    else:
        assert name == "efficientnet_lite0", name
        taps = _lite0(params, pictures)[:-1]
        weights = [jnp.full(tap.shape[-1], 1 / len(taps)) for tap in taps]
    total = jnp.zeros(len(a))
    for tap, weight in zip(taps, weights, strict=True):
        first, second = jnp.split(_unit(tap), 2)
        gap = jnp.square(first - second) @ weight
        total = total + jnp.mean(gap, (1, 2))
    return total


def pooled(params: Params, pictures: Float[Array, "B H W 3"]) -> Float[Array, "B D"]:
    """EfficientNet-lite0's 1280 features of whole pictures in [-1, 1], as a Frechet distance wants.

    The network was trained on pictures of 224 pixels.
    """
    return jnp.mean(_lite0(params, pictures.astype(jnp.float32))[-1], (1, 2))


def _unit(x: Float[Array, "B h w c"]) -> Array:
    """Features of unit length. The root is kept off 0, where it has no slope."""
    square = jnp.sum(jnp.square(x), -1, keepdims=True)
    return x / (jnp.sqrt(jnp.maximum(square, 1e-20)) + 1e-10)


def _vgg(params: Params, x: Float[Array, "B H W 3"]) -> list[Array]:
    """VGG16's features before each of its pools but for the last group's, after the rectifier."""
    x = (x - jnp.array(_SHIFT)) / jnp.array(_SCALE)
    taps: list[Array] = []
    for group in VGG_GROUPS:
        if taps:
            x = _pool(x)
        for i in group:
            layer = params["conv"][str(i)]
            x = jax.lax.conv_general_dilated(
                x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + layer["bias"])
        taps.append(x)
    return taps


def _pool(x: Float[Array, "B H W c"]) -> Array:
    """The largest of 2x2 places; an odd last row or column is left out."""
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def _lite0(params: Params, x: Float[Array, "B H W 3"]) -> list[Array]:
    """EfficientNet-lite0's features at strides 2, 4, 8, 16, and its head's (32)."""
    x = (x - jnp.array(_MEAN)) / jnp.array(_SPREAD)
    x = _relu6(_convolve(x, params["stem"], 3, 2))
    taps, number = [], 0
    for repeats, kernel, stride, _, _ in LITE0_STAGES:
        for i in range(repeats):
            block, step = params["blocks"][str(number)], stride if i == 0 else 1
            inner = _relu6(_place(x, block["expand"])) if "expand" in block else x
            inner = _relu6(_depthwise(inner, block["depthwise"], kernel, step))
            inner = _place(inner, block["project"])
            x = x + inner if step == 1 and x.shape == inner.shape else inner
            if number in _LITE0_TAPS:
                taps.append(x)
            number += 1
    return [*taps, _relu6(_place(x, params["head"]))]


def _relu6(x: Array) -> Array:
    return jnp.clip(x, 0.0, 6.0)


def _place(x: Float[Array, "B h w i"], layer: Params) -> Array:
    return x @ layer["kernel"] + layer["bias"]


def _convolve(x: Float[Array, "B h w i"], layer: Params, size: int, stride: int) -> Array:
    near = jnp.concatenate(_neighbours(x, size, stride), -1)
    return near @ layer["kernel"].reshape(near.shape[-1], -1) + layer["bias"]


def _depthwise(x: Float[Array, "B h w c"], layer: Params, size: int, stride: int) -> Array:
    """Each channel by its own kernel (size, size, c): a sum of shifted copies, fast on a CPU."""
    kernel = layer["kernel"].reshape(size**2, -1)
    copies = _neighbours(x, size, stride)
    return sum((k * copy for k, copy in zip(kernel, copies, strict=True)), start=layer["bias"])


def _neighbours(x: Float[Array, "B h w c"], size: int, stride: int) -> list[Array]:
    """The `size`^2 shifted copies of `x`, every `stride`-th place, padded as TensorFlow does."""
    pads = []
    for side in x.shape[1:3]:
        short = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((short // 2, short - short // 2))
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    high, wide = (side - size + 1 for side in padded.shape[1:3])
    return [
        padded[:, i : i + high : stride, j : j + wide : stride]
        for i in range(size)
        for j in range(size)
    ]
