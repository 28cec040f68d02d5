"""`sora-jax doctor`: what this machine has, what is missing, and whether a tiny model works."""

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sora_jax.cli import runtime

SUMMARY = "check this machine: versions, devices, disk, services, and a tiny model end to end"
EXAMPLE = "sora-jax doctor --workdir runs"

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "av", "numpy", "safetensors")
_LITTLE_SPACE, _NO_SPACE = 10.0, 1.0  # GiB
_LITTLE_MEMORY = 4.0  # GiB
_WANDB_WAIT = 3.0  # seconds


class Line(NamedTuple):
    """One finding; what is not ok comes with its remedy."""

    name: str
    status: Literal["ok", "warning", "error"]
    found: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", default="runs", metavar="DIR", help="where runs will be written (runs)"
    )
    parser.add_argument(
        "--skip-self-test", action="store_true", help="do not train the tiny model (20 s)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Check everything; the exit code is 5 if a line is an error."""
    import jax

    from sora_jax.export.bundle import EMBEDDED, MANIFEST

    began = time.monotonic()
    lines = []
    for line in _check(Path(args.workdir), with_self_test=not args.skip_self_test):
        remedy = f"; {line.remedy}" if line.remedy else ""
        print(f"{line.status:8} {line.name}: {line.found}{remedy}", file=sys.stderr, flush=True)
        lines.append(line)
    problems = [f"{x.name}: {x.found}; {x.remedy}" for x in lines if x.status != "ok"]
    counts = {s: sum(line.status == s for line in lines) for s in ("ok", "warning", "error")}
    return {
        "status": next((s for s in ("error", "warning") if counts[s]), "ok"),
        "counts": counts,
        "seconds": round(time.monotonic() - began, 1),
        "python": platform.python_version(),
        "devices": [f"{device.platform}:{device.id}" for device in jax.devices()],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "models": [name for name, path in EMBEDDED.items() if (path / MANIFEST).is_file()],
        "cache": str(runtime.cache_directory()),
        "problems": problems,
        "checks": [line._asdict() for line in lines],
        "exit_code": 5 if counts["error"] else 0,
    }


def _check(workdir: Path, *, with_self_test: bool) -> Iterator[Line]:
    yield _python()
    yield _versions()
    yield _devices()
    yield _memory()
    yield _writable(workdir)
    yield _space(workdir)
    yield _cache()
    yield _video()
    yield _wandb()
    yield from _guarded(_embedded)
    if with_self_test:
        from sora_jax.cli import selftest

        print("a tiny model is trained, saved and sampled (20 s) ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            test = selftest.SelfTest(Path(directory))
            for step in (test.overfit, test.save_and_load, test.guidance_off):
                yield from _guarded(step)


def _guarded(check: Callable[[], tuple]) -> Iterator[Line]:
    """What `check` finds; an exception is a finding too."""
    try:
        yield Line(*check())
    except Exception as error:  # whatever this machine does to it is what we want to know
        yield Line(
            check.__name__.strip("_"),
            "error",
            f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}",
            "report it with the output of `sora-jax doctor --json`",
        )


def _python() -> Line:
    version = platform.python_version()
    return Line("python", "ok", f"{version} on {platform.machine()}, {os.cpu_count()} cores")


def _versions() -> Line:
    """Installed packages against the ranges that this project states."""
    from packaging.requirements import Requirement

    wrong = []
    for text in importlib.metadata.requires("sora_jax") or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            found = "absent"
        if found == "absent" or not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found} (wanted{wanted.specifier})")
    if wrong:
        return Line("packages", "error", ", ".join(wrong), "run `make setup`")
    shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES[:4])
    return Line("packages", "ok", shown)


def _devices() -> Line:
    import jax

    devices = jax.devices()
    found = f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
    if devices[0].platform == "cpu" and shutil.which("nvidia-smi"):
        return Line(
            "devices", "warning", f"{found}, and this machine has an NVIDIA GPU",
            "pip install 'sora_jax[cuda]'",
        )  # fmt: skip
    return Line("devices", "ok", found)


def _memory() -> Line:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gib < _LITTLE_MEMORY:
        return Line(
            "memory", "warning", f"{gib:.1f} GiB",
            f"the quickstart wants {_LITTLE_MEMORY:g}; lower data.num_train",
        )  # fmt: skip
    return Line("memory", "ok", f"{gib:.1f} GiB")


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def _writable(workdir: Path) -> Line:
    place = _existing(workdir)
    try:
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Line(
            "workdir", "error", f"{place} can't be written ({error.strerror})",
            "choose another with --workdir",
        )  # fmt: skip
    return Line("workdir", "ok", f"{workdir} can be written")


def _space(workdir: Path) -> Line:
    gib = shutil.disk_usage(_existing(workdir)).free / 2**30
    status: Literal["ok", "warning", "error"] = (
        "error" if gib < _NO_SPACE else "warning" if gib < _LITTLE_SPACE else "ok"
    )
    remedy = f"a quickstart wants {_NO_SPACE:g} GiB and a long run {_LITTLE_SPACE:g}; free some"
    return Line("disk", status, f"{gib:.1f} GiB free", "" if status == "ok" else remedy)


def _cache() -> Line:
    cache = runtime.cache_directory()
    if not os.access(_existing(cache), os.W_OK):
        return Line(
            "cache", "warning", f"{cache} can't be written: programs are compiled each time",
            "set XDG_CACHE_HOME to a folder that can",
        )  # fmt: skip
    return Line("cache", "ok", str(cache))


def _video() -> Line:
    import av

    if "libx264" not in av.codecs_available:
        return Line(
            "video", "error", "PyAV has no libx264, so no mp4 can be written",
            "pip install --force-reinstall av",
        )  # fmt: skip
    return Line("video", "ok", f"PyAV {av.__version__} with libx264")


def _wandb() -> Line:
    """Whether the service answers; runs do without it."""
    import urllib.error
    import urllib.request

    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        urllib.request.urlopen(address, timeout=_WANDB_WAIT).close()
    except urllib.error.HTTPError as error:
        if error.code < 500:  # it speaks to us
            return Line("wandb", "ok", f"{address} answers")
        cause = f"answers {error.code}"
    except (OSError, ValueError) as error:
        cause = f"does not answer ({error})"
    else:
        return Line("wandb", "ok", f"{address} answers")
    return Line(
        "wandb", "warning", f"{address} {cause}",
        "train with --wandb offline (the default) and send later with `wandb sync`",
    )  # fmt: skip


def _embedded() -> Line:
    """The models that come with the package are whole."""
    from sora_jax.export.bundle import EMBEDDED, MANIFEST, open_model

    there = [name for name, path in EMBEDDED.items() if (path / MANIFEST).is_file()]
    for name in there:
        open_model(name)  # checks every digest
    if not there:
        return Line("models", "warning", "none is embedded", "train one: make quickstart")
    return Line("models", "ok", ", ".join(there))
