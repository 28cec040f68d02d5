"""Settings of the process that must be made before JAX is imported, all in one place."""

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

_GC_THRESHOLD = 50_000, 10, 10  # new objects, and how often older ones are looked through too
# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def prepare() -> None:
    """Keep compiled programs between runs and freed memory within the run; seldom look for cycles.

    Imports, reading and tracing make millions of objects that stay; by default Python looks through
    all of them each time that their number has grown by a quarter.
    """
    gc.set_threshold(*_GC_THRESHOLD)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: XLA logs to stderr
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # no window; read when MuJoCo is imported
    _keep_freed_memory()


# What lets the TPU compiler work where there is no TPU, beside another process that uses it.
TPU_COMPILER = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5p-8",  # of this host, which has none: only silences a warning
}


# Set by whoever starts the processes of one run: "host:port" of the first, count and own number;
# or "auto" as the first where JAX finds the others by itself (TPU pods).
COORDINATOR, PROCESSES, PROCESS = (
    "SORA_JAX_COORDINATOR",
    "SORA_JAX_PROCESSES",
    "SORA_JAX_PROCESS",
)
HEARTBEAT = "SORA_JAX_HEARTBEAT_SECONDS"  # after which a silent process is given up
_MOMENT = 0.5  # seconds; the supervisor looks more often
SUPERVISOR = "SORA_JAX_SUPERVISOR"  # process id of `launch local`


def connect() -> None:
    """Join the other processes of this run, if it has been started as one of several.

    JAX then watches for SIGTERM too, so that a run of one process that may be preempted is also
    started this way; a handler of our own would switch that off.
    """
    if SUPERVISOR in os.environ:
        supervisor = int(os.environ[SUPERVISOR])
        threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    if COORDINATOR not in os.environ:
        return
    import jax

    _share_programs()
    address = os.environ[COORDINATOR]
    if address == "auto":
        jax.distributed.initialize()
        return
    jax.distributed.initialize(
        address,
        num_processes=int(os.environ[PROCESSES]),
        process_id=int(os.environ[PROCESS]),
        # Its own choice is all interfaces, in the clear.
        coordinator_bind_address=address if address.startswith("127.") else None,
        heartbeat_timeout_seconds=int(os.environ.get(HEARTBEAT, "100")),
        shutdown_timeout_seconds=60,
    )


def _share_programs() -> None:
    """Let every process of a run on CPUs find the programs that the first one has compiled.

    JAX's key of a program has a fingerprint of the machine in it that on CPUs differs between
    processes, and only the first process stores programs: the others would compile at each start.
    Kinds of devices and their assignment stay in the key.
    """
    from jax._src import cache_key

    if os.environ.get("JAX_PLATFORMS") == "cpu" and hasattr(cache_key, "_hash_devices"):
        cache_key._hash_accelerator_config = cache_key._hash_devices  # type: ignore[assignment]


def leave(code: int) -> int:
    """How a command ends: `code` is given back, or ends the process here if it is one of several.

    The usual way out waits for the other processes, which do not come when one has failed.
    """
    if code and COORDINATOR in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _end_with(supervisor: int) -> None:
    """End this session once its supervisor is gone: nobody else would, and nobody would know."""
    while os.getppid() == supervisor:
        time.sleep(1)
    with contextlib.suppress(OSError):  # its pipe is gone too
        sys.stderr.write("sora-jax: the supervisor is gone; ending with it\n")
        sys.stderr.flush()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def let_others_speak_first(error: Exception) -> None:
    """Wait a moment if `error` is but the loss of another process, whose own end says more."""
    words = ("Gloo", "coordination service", "CoordinationService", "heartbeat", "Barrier")
    if COORDINATOR in os.environ and any(word in str(error) for word in words):
        time.sleep(_MOMENT)


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
        mallopt(_M_TRIM_THRESHOLD, -1)  # never: any number is too low for a large step
        mallopt(_M_ARENA_MAX, 1)
