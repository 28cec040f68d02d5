"""What every test runs under: eight virtual CPU devices, no network, shapes checked."""

import os
from pathlib import Path

# Before the first import of JAX: the number of devices is read once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is compiling, so programs are compiled fast and run slowly.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    + " --xla_llvm_disable_expensive_passes=true"
)
# Eight devices share one pool of threads, by default one for each core or device. Collectives block
# theirs while other parts of the same program queue for one: two cores then wait for ever.
os.environ["NPROC"] = "64"
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["NO_GCS"] = "1"
os.environ.setdefault("MUJOCO_GL", "egl")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Compiled programs outlive the process: the second run of the tests compiles next to nothing.
jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "sora_jax" / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Each annotated boundary of the package is checked while the tests run; an int passes as a float.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook("sora_jax", CHECKER)

from sora_jax import media  # noqa: E402
from sora_jax.data.schema import Caption, VideoRecord  # noqa: E402


@pytest.fixture
def key():
    """A PRNG key."""
    return jax.random.key(0)


@pytest.fixture
def make_record():
    """Record `i`: a clip with a square whose place and colour depend on `i`."""

    def make(i, num_frames=8, size=32):
        video = np.zeros((num_frames, size, size, 3), np.uint8)
        video[:, 2 : 12 + i % 8, 4:20] = np.random.default_rng(i).integers(0, 256, 3)
        return VideoRecord(
            id=f"clip{i}",
            captions=(Caption(f"clip number {i}", 0.0, 1.0), Caption("part", 0.5, 1.0)),
            fps=29.97,
            num_frames=num_frames,
            height=size,
            width=size,
            video=media.encode_mp4(video, 8),
            scores={"motion": 0.25},
            source="test",
            licence="CC0",
            extra={"scene": {"seed": i}},
        )

    return make
