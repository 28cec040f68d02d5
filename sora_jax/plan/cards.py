"""NVIDIA GPUs as XLA wants them described, to compile for one that is not there.

The figures are those that the cards report, as in XLA's own descriptions of them. A compiler that
can't look at a card takes its default for all that it would otherwise measure.
"""

import dataclasses

from sora_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """One GPU; all are alike in what `_TEXT` has as numbers."""

    name: str
    capability: int  # compute capability, without its minor number, which is 0
    features: str  # ACCELERATED_FEATURES: of this architecture alone
    cores: int
    units: int  # of float32 in a core
    clock: float  # GHz
    shared: int  # bytes of shared memory of a core
    cache: int  # bytes of the level 2 cache
    memory: int  # bytes
    bandwidth: int  # bytes a second


A100 = Card(
    name="NVIDIA A100-SXM4-80GB",
    capability=8,
    features="NONE",
    cores=108,
    units=64,
    clock=1.41,
    shared=167936,
    cache=41943040,
    memory=85100068864,
    bandwidth=2039040000000,
)
H100 = Card(
    name="NVIDIA H100 80GB HBM3",
    capability=9,
    features="ACCELERATED_FEATURES",
    cores=132,
    units=128,
    clock=1.98,
    shared=233472,
    cache=52428800,
    memory=84942979072,
    bandwidth=3352320000000,
)
B200 = Card(
    name="NVIDIA B200",
    capability=10,
    features="ACCELERATED_FEATURES",
    cores=148,
    units=128,
    clock=1.965,
    shared=233472,
    cache=132644864,
    memory=191514411008,
    bandwidth=7672320000000,
)
_A_HOST = 8  # cards that NVLink joins
_CUDNN = 9, 12  # the version that is compiled for
_TEXT = """
gpu_device_info {{
  cuda_compute_capability {{ major: {capability} feature_extension: {features} }}
  core_count: {cores} fpus_per_core: {units} clock_rate_ghz: {clock}
  device_memory_size: {memory} memory_bandwidth: {bandwidth} l2_cache_size: {cache}
  shared_memory_per_core: {shared} shared_memory_per_block_optin: {most_shared}
  shared_memory_per_block: 49152
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}}
platform_name: "CUDA"
dnn_version_info {{ major: {cudnn[0]} minor: {cudnn[1]} }}
device_description_str: "{name}"
"""


def describe(card: Card) -> str:
    """The card as a GpuTargetConfigProto in text."""
    return _TEXT.format(**vars(card), most_shared=card.shared - 1024, cudnn=_CUDNN)


def layout(count: int) -> str:
    """`count` cards as slices x hosts x cards of a host. Raises UsageError for a half-used host."""
    hosts, rest = divmod(count, _A_HOST)
    if hosts and rest:
        raise UsageError(
            f"{count} GPUs are not whole hosts of {_A_HOST}; use {hosts * _A_HOST} or "
            f"{(hosts + 1) * _A_HOST}"
        )
    return f"1x{hosts}x{_A_HOST}" if hosts else f"1x1x{count}"
