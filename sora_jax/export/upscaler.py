"""The bundle of an upscaler: upscaler.safetensors, config.json, card.md and MANIFEST.json."""

import dataclasses
import hashlib
from pathlib import Path

from sora_jax import config
from sora_jax.arrays import Params
from sora_jax.errors import UsageError
from sora_jax.export import bundle
from sora_jax.models.upscaler import Upscaler, UpscalerConfig

CONTENT = ("upscaler.safetensors", "config.json", "card.md")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscalerBundle:
    """An opened upscaler."""

    cfg: UpscalerConfig
    params: Params
    """Nested float32 arrays."""
    path: Path
    digest: str
    """SHA-256 of the manifest, which names the digests of all files."""


def write_upscaler(
    directory: str | Path,
    *,
    cfg: UpscalerConfig,
    params: Params,
    card: str,
    dtype: str = "float16",
) -> Path:
    """Write `directory`; errors as `bundle.write_bundle`."""
    values = {"format": bundle.FORMAT, "model": {"upscaler": config.to_dict(cfg)}}
    content = {
        "upscaler.safetensors": bundle.weight_bytes(params, dtype),
        "config.json": bundle.json_bytes(values),
        "card.md": card.encode(),
    }
    return bundle.write_files(directory, content)


def open_upscaler(name: str | Path) -> UpscalerBundle:
    """Open the upscaler of a bundle or run directory. Raises UsageError for anything else."""
    if not Path(name).exists():
        raise UsageError(f"no upscaler {name}; `make upscaler` trains one in runs/upscaler")
    directory = bundle.find_model(name)
    if not (directory / CONTENT[0]).is_file():
        raise UsageError(f"{name} holds no upscaler; `make upscaler` trains one in runs/upscaler")
    manifest = (directory / bundle.MANIFEST).read_bytes()
    content = bundle.verified(directory, manifest, CONTENT)
    values = bundle.settings(content, directory)
    cfg = config.resolve(UpscalerConfig, values["model"]["upscaler"])
    return UpscalerBundle(
        cfg=cfg,
        params=bundle.weights(content, directory, "upscaler", Upscaler, cfg),
        path=directory,
        digest=hashlib.sha256(manifest).hexdigest(),
    )
