"""Several processes as one run: what one does for all, and what all must have."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


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
    """Until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_agree(is_good: bool) -> bool:
    """Whether it is good on every process; all get the same answer."""
    if jax.process_count() == 1:
        return is_good
    return bool(np.all(multihost_utils.process_allgather(np.asarray(is_good))))


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
