"""The bundle: a directory with everything that generation needs and nothing that can run.

    vae.safetensors, dit.safetensors   weights under flat dotted names (the EMA of a run)
    config.json                        format, networks, sampling defaults
    tokenizer.json, card.md
    MANIFEST.json                      size and SHA-256 of each of the files above

The bundle of a run that trains an autoencoder alone has no dit.safetensors and no tokenizer.json,
and its config.json says the form of the clips instead of sampling defaults. `open_vae` reads the
autoencoder of both kinds, `open_model` the whole of the first.

A bundle is written whole or not at all, and its digests are checked each time it is opened.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from sora_jax import config, files
from sora_jax.arrays import Params
from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import SamplingConfig
from sora_jax.models import network
from sora_jax.models.network import LatentStats, ModelConfig
from sora_jax.models.text.tokenizer import Tokenizer
from sora_jax.models.vae.vae import VAE, VAEConfig

FORMAT = 2
DTYPES = ("float16", "float32")  # of stored weights; they are float32 again once opened
EMBEDDED = {"toyworld": Path(__file__).parents[1] / "assets" / "toyworld"}
MANIFEST = "MANIFEST.json"
CONTENT = ("vae.safetensors", "dit.safetensors", "config.json", "tokenizer.json", "card.md")
VAE_CONTENT = ("vae.safetensors", "config.json", "card.md")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened model."""

    model: ModelConfig
    params: dict[str, Params]
    """Nested float32 arrays under "vae" and "dit"."""
    tokenizer: Tokenizer
    sampling: SamplingConfig
    path: Path
    digest: str
    """SHA-256 of the manifest, which names the digests of all files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipForm:
    """The form of the clips that a model was trained on."""

    size: tuple[int, int]  # height, width
    num_frames: int
    fps: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEBundle:
    """The autoencoder of an opened model."""

    vae: VAEConfig
    latents: LatentStats
    clips: ClipForm
    params: Params
    """Nested float32 arrays."""
    path: Path
    digest: str
    """SHA-256 of the manifest, which names the digests of all files."""
    weights: str
    """SHA-256 of vae.safetensors."""


def write_bundle(
    directory: str | Path,
    *,
    model: ModelConfig,
    params: dict[str, Params],
    tokenizer: Tokenizer,
    sampling: SamplingConfig,
    card: str,
    dtype: str = "float16",
) -> Path:
    """Write `directory`, replacing the bundle that is there. `params` has "vae" and "dit".

    Raises UsageError for a directory that exists and is no bundle, LimitError for weights that
    `dtype` can't hold and RunError when the disk is full; an older bundle is then still whole.
    """
    values = {
        "format": FORMAT,
        "model": config.to_dict(model),
        "sampling": config.to_dict(sampling),
    }
    content = {
        "vae.safetensors": weight_bytes(params["vae"], dtype),
        "dit.safetensors": weight_bytes(params["dit"], dtype),
        "config.json": json_bytes(values),
        "tokenizer.json": json_bytes(tokenizer.to_json()),
        "card.md": card.encode(),
    }
    return write_files(directory, content)


def write_vae(
    directory: str | Path,
    *,
    vae: VAEConfig,
    latents: LatentStats,
    clips: ClipForm,
    params: Params,
    card: str,
    dtype: str = "float16",
) -> Path:
    """Write the bundle of an autoencoder alone, `params` being its; errors as `write_bundle`."""
    values = {
        "format": FORMAT,
        "model": {"vae": config.to_dict(vae), "latents": config.to_dict(latents)},
        "clips": config.to_dict(clips),
    }
    content = {
        "vae.safetensors": weight_bytes(params, dtype),
        "config.json": json_bytes(values),
        "card.md": card.encode(),
    }
    return write_files(directory, content)


def write_files(directory: str | Path, content: dict[str, bytes]) -> Path:
    """Write files and their manifest, whole or not at all."""
    directory = Path(directory).absolute()
    if directory.exists() and any(directory.iterdir()) and not _is_bundle(directory):
        raise UsageError(f"{directory} exists and is no bundle; name a new directory")
    manifest = {name: _entry(body) for name, body in content.items()}
    with files.disk_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            new.chmod(0o755)
            for name, body in [*content.items(), (MANIFEST, json_bytes({"files": manifest}))]:
                (new / name).write_bytes(body)
            _swap(new, directory)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return directory


def open_model(name: str | Path) -> Bundle:
    """Open a bundle, the newest bundle of a run directory, or an embedded model by its name.

    Raises UsageError for anything else, and for a file that is not what its manifest says.
    """
    directory = find_model(name)
    manifest_bytes = (directory / MANIFEST).read_bytes()
    if is_vae_alone(name):
        raise UsageError(
            f"{name} holds an autoencoder alone, for encode, decode and evaluate --suite vae; name "
            "a model that has a transformer"
        )
    content = verified(directory, manifest_bytes, CONTENT)
    values = settings(content, directory)
    model = config.resolve(ModelConfig, values["model"])
    vae = weights(content, directory, "vae", VAE, model.vae)
    dit = weights(content, directory, "dit", network.Denoiser, model)
    return Bundle(
        model=model,
        params={"vae": vae, "dit": dit},
        tokenizer=Tokenizer.from_json(_parse(content["tokenizer.json"], directory)),
        sampling=config.resolve(SamplingConfig, values["sampling"]),
        path=directory,
        digest=hashlib.sha256(manifest_bytes).hexdigest(),
    )


def open_vae(name: str | Path) -> VAEBundle:
    """Open the autoencoder of any bundle, run directory or embedded model.

    Only its own files are read and compared with the manifest. Raises as `open_model` does.
    """
    directory = find_model(name)
    manifest_bytes = (directory / MANIFEST).read_bytes()
    content = verified(directory, manifest_bytes, VAE_CONTENT)
    values = settings(content, directory)
    form = values["clips"] if is_vae_alone(name) else values["sampling"]
    fields = [field.name for field in dataclasses.fields(ClipForm)]
    vae = config.resolve(VAEConfig, values["model"]["vae"])
    return VAEBundle(
        vae=vae,
        latents=config.resolve(LatentStats, values["model"]["latents"]),
        clips=config.resolve(ClipForm, {name: form[name] for name in fields}),
        params=weights(content, directory, "vae", VAE, vae),
        path=directory,
        digest=hashlib.sha256(manifest_bytes).hexdigest(),
        weights=hashlib.sha256(content["vae.safetensors"]).hexdigest(),
    )


def is_vae_alone(name: str | Path) -> bool:
    """Whether a model is an autoencoder alone. Raises UsageError if it is none at all."""
    path = find_model(name) / MANIFEST
    return set(_parse(path.read_bytes(), path).get("files", {})) == set(VAE_CONTENT)


def settings(content: dict[str, bytes], directory: Path) -> dict[str, Any]:
    """What config.json says, in this version's words."""
    values = _upgraded(_parse(content["config.json"], directory / "config.json"))
    if values.get("format") != FORMAT:
        raise UsageError(
            f"{directory} has bundle format {values.get('format')!r} and this version reads "
            f"{FORMAT}; export the model again"
        )
    return values


def weights(content: dict[str, bytes], directory: Path, part: str, make: type, cfg: Any) -> Params:
    """The parameters of `make(cfg)`, after comparing their names and shapes."""
    path = directory / f"{part}.safetensors"
    params = _from_bytes(content[path.name], path)
    _check_names(params, network.graph(make, cfg)[1], path)
    return params


def _upgraded(values: dict) -> dict:
    """Settings of a bundle of format 1 as format 2 names them."""
    if values.get("format") != 1:
        return values
    dit = dict(values["model"]["dit"])
    dit["mlp_width"] = dit.pop("mlp_ratio") * dit["width"]
    dit["remat"] = "block" if dit["remat"] else "none"
    return values | {"format": FORMAT, "model": values["model"] | {"dit": dit}}


def model_digest(name: str | Path) -> str:
    """SHA-256 of a model's manifest, which names the digests of all its files."""
    return hashlib.sha256((find_model(name) / MANIFEST).read_bytes()).hexdigest()


def find_model(name: str | Path) -> Path:
    """The bundle's directory that `name` stands for, without opening it."""
    if str(name) in EMBEDDED:
        name = EMBEDDED[str(name)]
    path = Path(name)
    for directory in (path, path / "bundle"):
        if _is_bundle(directory):
            return directory
    if not path.is_dir():
        raise UsageError(
            f"no model {name}; name a run directory, an exported bundle or one of "
            f"{', '.join(EMBEDDED)}"
        )
    raise UsageError(
        f"{name} has no checkpoint to sample from yet; train it with "
        f"`sora-jax train --config FILE --workdir {name}`"
    )


def flatten(params: Params, prefix: str = "") -> dict[str, Any]:
    """Nested params as {"a.b.c": leaf}."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        assert "." not in name, name
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: dict[str, Any]) -> Params:
    """Inverse of `flatten`."""
    params: Params = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return params


def _is_bundle(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def _swap(new: Path, directory: Path) -> None:
    """Put `new` in the place of `directory`; what was there ends up at `new` and is removed."""
    if directory.exists():
        old = new.with_name(f"{new.name}.old")
        os.rename(directory, old)
        os.rename(new, directory)
        os.rename(old, new)
    else:
        os.rename(new, directory)


def json_bytes(values: Any) -> bytes:
    """`values` as JSON for people."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _entry(body: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}


def weight_bytes(params: Params, dtype: str) -> bytes:
    """Nested params as a safetensors file. Raises UsageError and LimitError as `write_bundle`."""
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is not for bundles; use one of {', '.join(DTYPES)}")
    arrays = {}
    for name, value in flatten(params).items():
        wide = np.asarray(value, np.float32)
        with np.errstate(over="ignore"):
            arrays[name] = np.ascontiguousarray(wide.astype(dtype))
        if not np.isfinite(arrays[name]).all():
            raise LimitError(
                f"weight {name} reaches {np.abs(wide).max():.3g}, which {dtype} can't hold; "
                "use float32 or an earlier checkpoint"
            )
    return safetensors.numpy.save(arrays)


def _from_bytes(body: bytes, path: Path) -> Params:
    try:
        arrays = safetensors.numpy.load(body)
    except SafetensorError as error:
        raise UsageError(f"{path} is not a safetensors file ({error}); copy it again") from error
    return unflatten({name: value.astype(np.float32) for name, value in arrays.items()})


def _parse(body: bytes, path: Path) -> dict[str, Any]:
    try:
        return json.loads(body)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}); copy the bundle again") from error


def verified(directory: Path, manifest_bytes: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """The content of each of the files, after comparing it with the manifest."""
    entries = _parse(manifest_bytes, directory / MANIFEST).get("files", {})
    content = {}
    for name in names:
        path = directory / name
        if name not in entries or not path.is_file():
            raise UsageError(f"{path} is missing from the bundle; copy the bundle again")
        content[name] = path.read_bytes()
        if _entry(content[name]) != entries[name]:
            raise UsageError(
                f"{path} is not the file that {MANIFEST} lists (its SHA-256 differs); copy the "
                "bundle again"
            )
    return content


def _check_names(params: Params, expected: Params, path: Path) -> None:
    found = {name: value.shape for name, value in flatten(params).items()}
    wanted = {name: value.shape for name, value in flatten(expected).items()}
    if found != wanted:
        name = min(name for name in found | wanted if found.get(name) != wanted.get(name))
        raise UsageError(
            f"{path} has {name} of shape {found.get(name)} where this version of the network has "
            f"{wanted.get(name)}; export the model again with this version"
        )
