"""Checkpoints: the state and the position in the data, together or not at all (Orbax)."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sora_jax.errors import RunError

KEEP = 2


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands."""

    next_batch: int = 0
    progress: float = 0.0  # share of the run that is done; 1 once it is complete


class Checkpoints:
    """Saves in the background, keeps the newest two, restores onto any mesh."""

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEEP, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._directory = directory
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The newest complete step."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, position: Position) -> None:
        """Start to write; an error of the write before shows here. Raises RunError (disk full)."""
        if step == self.latest:
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(dataclasses.asdict(position)),
        )
        try:
            self._manager.save(step, args=args)
        except (OSError, ValueError) as error:
            raise self._failed(step, error) from error

    def wait(self) -> None:
        """Until what was started is on disk. Raises RunError if it could not be written."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._failed(self.latest, error) from error

    def restore(self, abstract: Any, shardings: Any) -> tuple[Any, Position]:
        """(state, position) of the newest step, every leaf where `shardings` says."""
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            shardings,
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), data=ocp.args.JsonRestore()
        )
        try:
            found = self._manager.restore(self.latest, args=args)
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"checkpoint {self.latest} in {self._directory} can't be read "
                f"({_first_line(error)}); remove it to go on from an older one"
            ) from error
        return found["state"], Position(**found["data"])

    def close(self) -> None:
        self._manager.close()

    def _failed(self, step: int | None, error: Exception) -> RunError:
        return RunError(
            f"checkpoint {step} in {self._directory} was not written "
            f"({_first_line(error)}); free space and run the same command again"
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
