"""Settings of the process that must be made before JAX is imported, all in one place."""

import ctypes
import os
from pathlib import Path

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def prepare() -> None:
    """Keep compiled programs between runs and freed memory within the run."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: XLA logs to stderr
    _keep_freed_memory()


def cache_directory() -> Path:
    """Where this program keeps what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sora_jax"


def _keep_freed_memory() -> None:
    """Stop glibc from giving memory back after each step: XLA asks for it again at once.

    84 of 303 CPU-ms of a training step went into that. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_ARENA_MAX, 1)
