"""LATENTS.npz: what `encode` writes and `decode` reads. Arrays alone: nothing in it can run.

    latents        float32 (float16 is read too), n h w C, normalised, one after the other in time
    format         1
    fps            of the video
    num_frames     of the video; the last chunk may stand for fewer than 4
    size           height and width of the video; latents may stand for a little more
    model          JSON: the autoencoder's config, its latent statistics, SHA-256 of its weights
    model_digest   SHA-256 of the manifest of the model
    video_sha256   of the file that was encoded

`numpy.load` reads it without pickle. Both directions go piece by piece, so that a film needs no
more memory than a clip.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import config, files
from sora_jax.errors import UsageError
from sora_jax.export.bundle import VAEBundle
from sora_jax.models.network import LatentStats
from sora_jax.models.vae.vae import TEMPORAL, VAEConfig

FORMAT = 1
LATENTS = "latents"
SMALL = 2**20  # bytes: more than any other array has
# Kind of number and shape of each array; None stands for any length.
ARRAYS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    LATENTS: ("f", (None, None, None, None)),
    "format": ("i", ()),
    "fps": ("f", ()),
    "num_frames": ("i", ()),
    "size": ("i", (2,)),
    "model": ("U", ()),
    "model_digest": ("U", ()),
    "video_sha256": ("U", ()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentsFile:
    """What stands beside the latents of a video."""

    fps: float
    num_frames: int
    size: tuple[int, int]  # height, width
    model: str
    model_digest: str
    video_sha256: str


def write(
    path: str | Path, pieces: Iterable[NDArray[np.floating]], finish: Callable[[], LatentsFile]
) -> tuple[int, ...]:
    """Write pieces n h w C, one after the other in time, and give the shape of all together.

    `finish` is called after the last piece, when the number of frames is known. The file appears
    whole or not at all.
    """
    with files.writing(path) as target, tempfile.TemporaryFile(dir=Path(path).parent) as raw:
        length, rest = 0, ()
        for piece in pieces:
            length, rest = length + len(piece), piece.shape[1:]
            raw.write(np.ascontiguousarray(piece, "<f4").tobytes())
        raw.seek(0)
        beside = dataclasses.asdict(finish()) | {"format": FORMAT}
        with zipfile.ZipFile(target, "w") as archive:
            for name in ARRAYS:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    if name != LATENTS:
                        np.lib.format.write_array(member, np.asarray(beside[name]))
                        continue
                    header = {"descr": "<f4", "fortran_order": False, "shape": (length, *rest)}
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(raw, member)
    return (length, *rest)


class LatentsReader:
    """An open LATENTS.npz, checked: `beside` what stands beside the latents, `shape` n h w C.

    Raises UsageError for what is no such file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UsageError(f"no file {path}; `sora-jax encode` writes one")
        arrays = {name: self._read(name) for name in ARRAYS if name != LATENTS}
        if arrays["format"] != FORMAT:
            raise UsageError(
                f"{path} has format {arrays['format']} and this version reads {FORMAT}; encode the "
                "video again"
            )
        height, width = arrays["size"].tolist()
        del arrays["format"], arrays["size"]
        values = {name: array.item() for name, array in arrays.items()}
        self.beside = LatentsFile(size=(height, width), **values)
        with self._open(LATENTS) as (_, shape, self._dtype):
            self.shape = shape
        beside = self.beside
        whole = self.shape[0] * TEMPORAL
        if not (math.isfinite(beside.fps) and beside.fps > 0 and min(self.shape) > 0):
            raise UsageError(
                f"{path} has latents {self.shape} at {beside.fps} fps; encode it again"
            )
        if not whole - TEMPORAL < beside.num_frames <= whole:
            raise UsageError(
                f"{path} says {beside.num_frames} frames and has {self.shape[0]} chunks of "
                f"{TEMPORAL}; encode the video again"
            )

    def pieces(self, chunks: int) -> Iterator[NDArray[np.float32]]:
        """The latents as n h w C, `chunks` at a time. Raises UsageError for NaN and infinity."""
        row = math.prod(self.shape[1:]) * self._dtype.itemsize
        with self._open(LATENTS) as (member, _, dtype):
            for start in range(0, self.shape[0], chunks):
                count = min(chunks, self.shape[0] - start)
                body = member.read(count * row)
                if len(body) < count * row:
                    raise UsageError(f"{self.path} ends early; copy it again")
                piece = np.frombuffer(body, dtype).reshape(count, *self.shape[1:])
                bad = ~np.isfinite(piece).all((1, 2, 3))
                if bad.any():
                    raise UsageError(
                        f"{self.path} has NaN or infinite latents, first in chunk "
                        f"{start + int(bad.argmax())} of {self.shape[0]}; encode the video again"
                    )
                yield piece.astype(np.float32)

    def check_model(self, bundle: VAEBundle) -> None:
        """Raise UsageError, with the fields that differ, if another model made the latents."""
        try:
            made_by = json.loads(self.beside.model)
            cfg = config.resolve(VAEConfig, made_by["vae"])
            stats = config.resolve(LatentStats, made_by["latents"])
            found = _identity(cfg, stats, str(made_by["weights"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path} does not say which model made it ({error})") from error
        other = config.difference(found, _identity(bundle.vae, bundle.latents, bundle.weights))
        if other:
            raise UsageError(
                f"{self.path} was made by another autoencoder than {bundle.path}: "
                f"{', '.join(map(_brief, other[:5]))}; decode it with the model that encoded it"
            )
        if self.shape[3] != bundle.vae.channels:
            raise UsageError(
                f"{self.path} has latents of {self.shape[3]} channels and the model has "
                f"{bundle.vae.channels}; encode the video again"
            )
        sides = zip(self.beside.size, self.shape[1:3], strict=True)
        if any(-(-side // bundle.vae.spatial) != count for side, count in sides):
            raise UsageError(
                f"{self.path} says size {self.beside.size[1]}x{self.beside.size[0]} and has "
                f"{self.shape[2]}x{self.shape[1]} latents; encode the video again"
            )

    def _read(self, name: str) -> NDArray[Any]:
        with self._open(name) as (member, shape, dtype):
            count = math.prod(shape)
            if count * dtype.itemsize > SMALL:
                raise UsageError(f"{name} of {self.path} is too large to be one; encode it again")
            array = np.frombuffer(member.read(count * dtype.itemsize), dtype)
            if len(array) < count:
                raise UsageError(f"{self.path} ends early in {name}; copy it again")
            return array.reshape(shape)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[tuple[Any, tuple[int, ...], np.dtype]]:
        """An array's bytes, after its header, with shape and type, which are checked."""
        kind, wanted = ARRAYS[name]
        try:
            with zipfile.ZipFile(self.path) as archive:
                if f"{name}.npy" not in archive.namelist():
                    known = ", ".join(sorted(n.removesuffix(".npy") for n in archive.namelist()))
                    raise UsageError(
                        f"{self.path} has no {name!r} (it has {known[:200] or 'nothing'}); "
                        "`sora-jax encode` writes what decode reads"
                    )
                with archive.open(f"{name}.npy") as member:
                    shape, dtype = self._header(name, member)
                    fits = len(shape) == len(wanted) and all(
                        w in (None, side) for side, w in zip(shape, wanted, strict=True)
                    )
                    if dtype.kind != kind or not dtype.itemsize or not fits:
                        raise UsageError(
                            f"{name} of {self.path} is {dtype}{list(shape)}; it must be "
                            f"{_KINDS[kind]} of {len(wanted)} dims"
                        )
                    yield member, shape, dtype
        except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
            raise UsageError(f"{self.path} is no npz file or is cut short ({error})") from error

    def _header(self, name: str, member: Any) -> tuple[tuple[int, ...], np.dtype]:
        try:
            version = np.lib.format.read_magic(member)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, is_fortran, dtype = read(member)
        except (ValueError, KeyError) as error:
            raise UsageError(f"{name} of {self.path} is no array ({error})") from error
        if dtype.hasobject:
            raise UsageError(
                f"{name} of {self.path} holds pickled Python objects, which could run anything; "
                "take the file that `sora-jax encode` wrote"
            )
        if is_fortran and len(shape) > 1:
            raise UsageError(f"{name} of {self.path} is in Fortran order; store it in C order")
        return shape, dtype


def identity(bundle: VAEBundle) -> str:
    """What latents of a model depend on, as JSON."""
    return json.dumps(_identity(bundle.vae, bundle.latents, bundle.weights))


_KINDS = {"f": "floating point", "i": "whole numbers", "U": "text"}


def _identity(vae: VAEConfig, latents: LatentStats, weights: str) -> dict[str, Any]:
    return {
        "vae": config.to_dict(vae),
        "latents": config.to_dict(latents),
        "weights": weights,
    }


def _brief(found: config.Difference) -> str:
    """A field with both values, if they are short."""
    first, second = (str(v)[:12] if found.field == "weights" else v for v in found[1:])
    text = str(config.Difference(found.field, first, second))
    return text if len(text) < 80 else found.field
