"""`sora-jax doctor`: what this machine has, and what is missing."""

import argparse
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime

SUMMARY = "show what this machine has and what is missing"
EXAMPLE = "sora-jax doctor --json"

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "av", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Doctor takes no arguments of its own."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    import av
    import jax

    from sora_jax.export.bundle import EMBEDDED, MANIFEST

    problems = []
    if "libx264" not in av.codecs_available:
        problems.append("PyAV has no libx264, so no mp4 can be written; install the av wheel")
    cache = runtime.cache_directory()
    home = next(path for path in (cache, *cache.parents) if path.is_dir())
    if not os.access(home, os.W_OK):
        problems.append(
            f"{home} can't be written, so programs are compiled each time; set "
            "XDG_CACHE_HOME to a folder that can"
        )
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "devices": [f"{device.platform}:{device.id}" for device in jax.devices()],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "models": [name for name, path in EMBEDDED.items() if (path / MANIFEST).is_file()],
        "cache": str(cache),
        "free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "problems": problems,
    }
