"""Compiler flags of each accelerator: the one place for them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A kind of machine that runs are started on."""

    environment: dict[str, str]  # what the compiler is told
    chips_per_host: int = 1
    gke_name: str = ""  # of its node pools
    vm_name: str = ""  # prefix of its TPU VM types
    cores_in_name: int = 1  # a TPU VM type counts this many cores a chip


_TPU = (
    "--xla_tpu_enable_async_collective_fusion=true",
    "--xla_tpu_enable_async_collective_fusion_fuse_all_gather=true",
    "--xla_tpu_enable_async_collective_fusion_multiple_steps=true",
    "--xla_tpu_overlap_compute_collective_tc=true",
)
_GPU = ("--xla_gpu_enable_latency_hiding_scheduler=true",)


def _tpu(*more: str) -> dict[str, str]:
    return {"JAX_PLATFORMS": "tpu,cpu", "LIBTPU_INIT_ARGS": " ".join(_TPU + more)}


ACCELERATORS = {
    "v5e": Accelerator(_tpu(), 4, "tpu-v5-lite-podslice", "v5litepod"),
    "v5p": Accelerator(_tpu(), 4, "tpu-v5p-slice", "v5p", 2),
    "v6e": Accelerator(_tpu("--xla_tpu_scoped_vmem_limit_kib=98304"), 4, "tpu-v6e-slice", "v6e"),
    "gpu": Accelerator({"JAX_PLATFORMS": "cuda,cpu", "XLA_FLAGS": " ".join(_GPU)}, 8),
    "cpu": Accelerator({"JAX_PLATFORMS": "cpu"}),
}
TPUS = tuple(name for name, kind in ACCELERATORS.items() if kind.gke_name)
