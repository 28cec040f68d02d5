"""Devices of a topology that is not there: what programs are compiled for."""

import importlib.util

import jax
from jax.experimental import topologies

from sora_jax.errors import UsageError
from sora_jax.plan.chips import Topology


def devices(topology: Topology) -> list[jax.Device]:
    """The topology's devices, for `sharding.make_mesh`. They can be compiled for, not run on.

    Raises UsageError for a topology that the compiler does not have, and for a missing package.
    """
    if topology.chip.platform == "cpu":
        return jax.devices("cpu")[: topology.size]
    if topology.chip.platform != "tpu":
        raise UsageError(
            f"{topology.name}: programs for GPUs are not compiled ahead of time by this version; "
            "use a TPU topology or cpu:N"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError(
            f"{topology.name} needs the TPU compiler; install it with: pip install 'sora_jax[tpu]'"
        )
    try:
        return list(topologies.get_topology_desc(topology.name, "tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].split(": ", 1)[-1]
        raise UsageError(
            f"the TPU compiler has no topology {topology.name}: {reason}; use one such as "
            f"{topology.chip.examples}"
        ) from error
