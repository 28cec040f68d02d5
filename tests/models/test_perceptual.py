"""Features of frozen networks against the public computation, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.export import features
from sora_jax.models.vae import perceptual
from tests.tiny_model import lite0_arrays, tiny_features, vgg_arrays


def convolve(x, kernel, bias, stride=1, groups=1):
    """PyTorch's convolution with TensorFlow's SAME padding: x B C H W, kernel O I/groups k k."""
    size = kernel.shape[-1]
    pads = []
    for side in x.shape[2:]:
        short = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((short // 2, short - short // 2))
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    if groups == 1:
        out = np.einsum("bihwkl,oikl->bohw", windows, kernel, optimize=True)
    else:
        out = np.einsum("bchwkl,ckl->bchw", windows, kernel[:, 0], optimize=True)
    return out if bias is None else out + bias[None, :, None, None]


def vgg_features(arrays, x):
    """VGG16 as in torchvision up to relu5_3 after LPIPS' scaling, x B C H W in [-1, 1]."""
    x = (x - np.reshape([-0.030, -0.088, -0.188], (3, 1, 1))) / np.reshape(
        [0.458, 0.448, 0.450], (3, 1, 1)
    )
    plan = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]
    taps, i = [], 0
    for n, entry in enumerate(plan):
        if entry == "M":
            b, c, h, w = x.shape
            x = x[:, :, : h // 2 * 2, : w // 2 * 2]
            x = x.reshape(b, c, h // 2, 2, w // 2, 2).max((3, 5))
            i += 1
            continue
        x = convolve(x, arrays[f"features.{i}.weight"], arrays[f"features.{i}.bias"])
        x = np.maximum(x, 0)
        i += 2
        if n + 1 == len(plan) or plan[n + 1] == "M":
            taps.append(x)
    return taps


def lpips(arrays, a, b):
    """lpips.LPIPS(net="vgg") of pictures B C H W in [-1, 1]."""
    total = 0.0
    for k, (f, g) in enumerate(zip(vgg_features(arrays, a), vgg_features(arrays, b), strict=True)):
        f, g = (v / (np.sqrt(np.sum(v**2, 1, keepdims=True)) + 1e-10) for v in (f, g))
        weight = arrays[f"lin{k}.model.1.weight"][0, :, 0, 0]
        total = total + np.einsum("bchw,c->bhw", (f - g) ** 2, weight).mean((1, 2))
    return total


def lite0_features(arrays, x):
    """The public EfficientNet-lite0: its head's features, x B C H W in [-1, 1]."""

    def normed(x, name):
        w, b, m, v = (
            arrays[f"{name}.{part}"][None, :, None, None].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - m) / np.sqrt(v + 1e-3) * w + b

    def relu6(x):
        return np.minimum(np.maximum(x, 0), 6)

    x = (x / 2 + 0.5 - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape(
        [0.229, 0.224, 0.225], (3, 1, 1)
    )
    x = relu6(normed(convolve(x, arrays["_conv_stem.weight"], None, 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for i, stride in enumerate(strides):
        name, before = f"_blocks.{i}", x
        if f"{name}._expand_conv.weight" in arrays:
            x = convolve(x, arrays[f"{name}._expand_conv.weight"], None)
            x = relu6(normed(x, f"{name}._bn0"))
        kernel = arrays[f"{name}._depthwise_conv.weight"]
        x = relu6(normed(convolve(x, kernel, None, stride, len(kernel)), f"{name}._bn1"))
        x = normed(convolve(x, arrays[f"{name}._project_conv.weight"], None), f"{name}._bn2")
        if stride == 1 and x.shape[1] == before.shape[1]:
            x = x + before
    return relu6(normed(convolve(x, arrays["_conv_head.weight"], None), "_bn1"))


def pictures(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.uniform(-1, 1, (2, size, size, 3))
    return a, np.clip(a + 0.2 * rng.normal(size=a.shape), -1, 1)


def channel_first(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("size", [32, 36])
def test_lpips_is_the_public_computation(size):
    """Odd halves too: 36 pixels are 9 after two pools, and 4 after three."""
    a, b = pictures(size)
    params = features.lpips_vgg(vgg_arrays(), "test")
    ours = perceptual.distance(
        "lpips_vgg", params, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    )
    np.testing.assert_allclose(
        ours, lpips(vgg_arrays(), channel_first(a), channel_first(b)), rtol=1e-4
    )


@pytest.mark.parametrize("size", [32, 44])
def test_lite0_is_the_public_computation(size):
    """44 pixels are odd on the way down (11, 3): the padding of strided convolutions counts."""
    a, _ = pictures(size)
    ours = perceptual.pooled(tiny_features(), jnp.asarray(a, jnp.float32))
    public = lite0_features(lite0_arrays(), channel_first(a)).mean((2, 3))
    np.testing.assert_allclose(ours, public, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", perceptual.NETWORKS)
def test_a_distance_is_zero_of_equal_pictures_and_grows(name):
    params = tiny_features()
    if name == "lpips_vgg":
        params = features.lpips_vgg(vgg_arrays(), "test")
    a, b = (jnp.asarray(x, jnp.float32) for x in pictures())
    near, far = (perceptual.distance(name, params, a, a + s * (b - a)) for s in (0.1, 1.0))
    np.testing.assert_allclose(perceptual.distance(name, params, a, a), 0, atol=1e-6)
    assert jnp.all(near > 0) and jnp.all(far > 3 * near)


def test_features_of_no_length_have_a_finite_slope():
    """They have no direction, and the root of 0 no slope: the gradient must not be NaN there."""
    slope = jax.grad(lambda x: jnp.sum(perceptual._unit(x)))(jnp.zeros((1, 2, 2, 3)))
    assert jnp.all(jnp.isfinite(slope))
