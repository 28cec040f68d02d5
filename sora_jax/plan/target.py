"""Devices of a topology that is not there: what programs are compiled for."""

import importlib.util

import jax
from jax.experimental import topologies

from sora_jax.errors import UsageError
from sora_jax.plan import cards
from sora_jax.plan.chips import Topology


def devices(topology: Topology) -> list[jax.Device]:
    """The topology's devices, for `sharding.make_mesh`. They can be compiled for, not run on.

    Raises UsageError for a topology that the compiler does not have, and for a missing package.
    """
    chip = topology.chip
    if chip.platform == "cpu":
        return jax.devices("cpu")[: topology.size]
    if chip.card is not None:
        return _described(topology, chip.card)
    _need(topology, "libtpu", "tpu", "TPU")
    try:
        return list(topologies.get_topology_desc(topology.name, "tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].split(": ", 1)[-1]
        raise UsageError(
            f"the TPU compiler has no topology {topology.name}: {reason}; use one such as "
            f"{chip.examples}"
        ) from error


def _described(topology: Topology, card: cards.Card) -> list[jax.Device]:
    layout = cards.layout(topology.size)
    _need(topology, "jax_cuda13_plugin", "cuda", "GPU")
    found = topologies.get_topology_desc(
        "", "cuda", target_config=cards.describe(card), topology=layout
    )
    return list(found.devices)


def _need(topology: Topology, package: str, extra: str, kind: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{topology.name} needs the {kind} compiler; install it with: "
            f"pip install 'sora_jax[{extra}]'"
        )
