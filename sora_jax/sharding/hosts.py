"""Several processes as one run: what one does for all, and what all must have."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost as coordination

_LONGEST_WAIT = 7 * 24 * 3600.0  # seconds; whoever waits has a watchdog, and a dead peer ends it
_meetings = itertools.count()  # all processes meet in the same order, so that names agree


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def place() -> tuple[int, int]:
    """(index, count) of this process."""
    return jax.process_index(), jax.process_count()


def first_then_all[T](work: Callable[[], T], name: str) -> T:
    """`work` on the first process, then on the others, who find it done.

    For stages that leave their result on disk and pass over what is there.
    """
    if not is_first():
        barrier(name)
    result = work()
    if is_first():
        barrier(name)
    return result


def barrier(name: str) -> None:
    """Until all processes are here, however long the slowest takes.

    By JAX's coordination service and not by a collective: those give up after 30 s on CPUs.
    """
    if jax.process_count() > 1:
        wait = coordination.get_barrier_sync_fn()
        wait(key=f"{next(_meetings)}: {name}", timeout_ms=int(_LONGEST_WAIT * 1000))


def all_agree(is_good: bool) -> bool:
    """Whether it is good on every process; all get the same answer."""
    if jax.process_count() == 1:
        return is_good
    barrier("agree")
    return bool(np.all(multihost_utils.process_allgather(np.asarray(is_good))))


def share(name: str, values: Sequence[float]) -> list[list[float]]:
    """Tell the others some numbers; gives what each process said last, in order.

    By the coordination service: nobody waits and no device is asked. A process that has not said
    anything yet is left out.
    """
    index, count = place()
    if count == 1:
        return [list(values)]
    client = coordination.get_jax_distributed_client()
    client.key_value_set(f"{name}/{index:06d}", json.dumps(list(values)), allow_overwrite=True)
    return [json.loads(said) for _, said in sorted(client.key_value_dir_get(f"{name}/"))]


def fetch(tree: Any) -> Any:
    """Whole host copies, on every process, of arrays that may be spread over all of them."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def is_wanted_back(step: int) -> bool:
    """Whether any process had a SIGTERM and `step` is the one that all stop at.

    To be asked at every step, by all. Always False where JAX's distributed service is not running.
    """
    return multihost_utils.reached_preemption_sync_point(step)


def leave() -> None:
    """Part from the other processes: each goes on, or ends, alone. All must call it."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()
