"""Sizes of the networks by name. Plain numbers, so that a config file can take them.

Parameters of the transformer: S 33 M, B 130 M, L 460 M, XL 680 M (the sizes of Peebles & Xie 2023),
1.3B and 14B (the public geometry of Wan 2.1, text cross-attention included), 5B (that of Wan 2.2),
2B and 30B between and beyond. `toy` is the quickstart's. Heads are 64 wide up to XL and 128 above.

Autoencoders are called by what a latent is: f8t4c16 stands for 4 frames of 8x8 pixels in 16
channels. The two large ones have about 100 M parameters, and each of their levels takes as long.
"""

import difflib
from typing import Any

from sora_jax.errors import UsageError


def _size(width: int, depth: int, num_heads: int, mlp_width: int) -> dict[str, Any]:
    return {
        "width": width,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_width": mlp_width,
        "text_attention": "cross",
        "patch": (1, 2, 2),
    }


PRESETS: dict[str, dict[str, Any]] = {
    "toy": _size(128, 4, 4, 512) | {"text_attention": "joined", "patch": (1, 1, 1)},
    "S": _size(384, 12, 6, 1920),
    "B": _size(768, 12, 12, 3840),
    "L": _size(1024, 24, 16, 5120),
    "XL": _size(1152, 28, 18, 5760),
    "1.3B": _size(1536, 30, 12, 8960),
    "2B": _size(2048, 30, 16, 8192),
    "5B": _size(3072, 30, 24, 14336),
    "14B": _size(5120, 40, 40, 13824),
    "30B": _size(6144, 48, 48, 25600),
}


def _autoencoder(channels: int, widths: tuple[int, ...], patch: int, blocks: int) -> dict[str, Any]:
    return {"channels": channels, "widths": widths, "patch": patch, "blocks": blocks}


VAE_PRESETS: dict[str, dict[str, Any]] = {
    "toy": _autoencoder(32, (128, 192), 4, 1) | {"deep_encoder": False},
    "f8t4c16": _autoencoder(16, (256, 512, 1024), 2, 2),
    "f16t4c48": _autoencoder(48, (256, 512, 1024), 4, 2),
}


def preset(name: str) -> dict[str, Any]:
    """Fields of `DiTConfig` for a size by name. Raises UsageError for an unknown one."""
    return _find(name, name.upper(), PRESETS)


def vae_preset(name: str) -> dict[str, Any]:
    """Fields of `VAEConfig` for a size by name. Raises UsageError for an unknown one."""
    return _find(name, name.lower(), VAE_PRESETS)


def _find(name: str, like: str, presets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if name not in presets:
        near = difflib.get_close_matches(like, presets, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"no preset {name!r}; {hint}there are {', '.join(presets)}")
    return dict(presets[name])
