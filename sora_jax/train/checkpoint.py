"""Checkpoints: the state and the position in the data, together or not at all (Orbax).

Beside what Orbax writes lies a record of every leaf (shape, dtype, digest) and of the run. What is
restored is held against it: damage is named, the checkpoint is set aside, and the one before is
taken. A save that fails costs that save and nothing else.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from sora_jax import config
from sora_jax.errors import RunError, UsageError
from sora_jax.sharding import hosts
from sora_jax.train import digest

KEEP = 2
_ROOM = 1.2  # free bytes asked for, over the bytes of a state


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a run stands."""

    next_batch: int = 0
    progress: float = 0.0  # share of the run that is done; 1 once it is complete


class _Damaged(Exception):
    """What was read is not what was written."""


class Checkpoints:
    """Saves in the background, keeps the newest two, restores onto any mesh.

    `settings` and `versions` (JSON values) are stored with every checkpoint. A checkpoint of other
    settings is not restored, but for fields with one of `may_differ` in their name.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any] | None = None,
        versions: dict[str, str] | None = None,
        may_differ: tuple[str, ...] = (),
    ):
        self._directory = directory.absolute()
        # As they are once they have been written and read.
        self._settings = json.loads(json.dumps(settings or {}))
        self._versions, self._may_differ = versions or {}, may_differ
        self._wanted: int | None = None  # step of the newest save that was asked for
        self._open()

    @property
    def latest(self) -> int | None:
        """The newest complete step."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, position: Position) -> None:
        """Start to write. What can't be written is logged: training goes on, `wait` will tell."""
        if step == self.latest:
            return
        self._wanted = step
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._directory).free
        if free < _ROOM * size:
            return _warn(step, f"{size:,} bytes, and {free:,} are free in {self._directory}")
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            record=ocp.args.JsonSave(self._record(state, position)),
        )
        for _ in range(2):  # an error of the save before shows here; it is not this one's fault
            try:
                self._manager.save(step, args=args)
                return
            except (OSError, ValueError, RuntimeError) as error:
                _warn(step, _root(error))
                self._reopen()

    def wait(self) -> None:
        """Until what was started is on disk. Raises RunError if the newest could not be written."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            _warn(self._wanted, _root(error))
            self._reopen()
        if self._wanted is not None and self.latest != self._wanted:
            raise RunError(
                f"checkpoint {self._wanted} in {self._directory} was not written (the cause is "
                "logged above); free space and run the same command again"
            )

    def restore(self, abstract: Any, shardings: Any) -> tuple[Any, Position]:
        """(state, position) of the newest good step, every leaf where `shardings` says.

        Damaged steps are renamed to STEP.damaged. Raises UsageError for a checkpoint of other
        shapes, dtypes or settings, RunError if no step is good.
        """
        causes = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            found, cause = None, ""
            try:
                found = self._read(step, abstract, shardings)
            except UsageError:
                raise
            except Exception as error:  # Orbax raises what its parts raise
                cause = _root(error)
            if hosts.all_agree(found is not None):
                assert found is not None
                state, record = found
                cause = _compare(step, state, record)  # together: digests are sums over all
                if not cause:
                    return state, Position(**record["position"])
            causes.append(f"step {step}: {cause or 'another process could not read it'}")
            self._set_aside(step, causes[-1])
        raise RunError(
            f"no checkpoint in {self._directory} is good ({'; '.join(causes)}); remove the "
            "directory to start again"
        )

    def close(self) -> None:
        self._manager.close()

    def _open(self) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEEP, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def _reopen(self) -> None:
        """A manager that knows nothing of a failed save; what was half written is removed."""
        try:
            self._manager.close()
        except (OSError, ValueError, RuntimeError):
            pass  # the error that brought us here, once more
        if hosts.is_first():
            for left in self._directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)
        self._open()

    def _record(self, state: Any, position: Position) -> dict[str, Any]:
        record = {
            "position": dataclasses.asdict(position),
            "leaves": _describe(state),
            "digests": digest.digests(state),
            "digest_format": digest.FORMAT,
            "settings": self._settings,
            "settings_sha256": _hash(self._settings),
            "versions": self._versions,
        }
        return record | {"sha256": _hash(record)}

    def _read(self, step: int, abstract: Any, shardings: Any) -> tuple[Any, dict[str, Any]]:
        """State and record. Here no process waits for another, whose part may be damaged."""
        # By the handlers: the restore of a manager ends with a barrier.
        place = self._directory / str(step)
        record = dict(ocp.JsonCheckpointHandler().restore(place / "record"))
        if record.pop("sha256", None) != _hash(record):
            raise _Damaged("its record does not have the hash that it had")
        _check_same(place, record["leaves"], _describe(abstract))
        self._check_settings(place, record.get("settings", {}))  # none before they were kept
        target = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            abstract,
            shardings,
        )
        handler = ocp.StandardCheckpointHandler()
        state = handler.restore(place / "state", args=ocp.args.StandardRestore(target))
        return state, record

    def _check_settings(self, place: Path, stored: dict[str, Any]) -> None:
        if not self._settings or not stored:
            return
        for found in config.difference(stored, self._settings):
            if not any(part in found.field for part in self._may_differ):
                raise UsageError(
                    f"{place} is of a run with other settings: {found}; use its config or another "
                    "--workdir"
                )

    def _set_aside(self, step: int, cause: str) -> None:
        logging.warning("set aside a damaged checkpoint, %s", cause)
        if hosts.is_first():
            place = self._directory / f"{step}.damaged"
            shutil.rmtree(place, ignore_errors=True)
            (self._directory / str(step)).rename(place)
        hosts.barrier(f"set aside {step}")
        self._manager.reload()


def _compare(step: int, state: Any, record: dict[str, Any]) -> str:
    """What is wrong with what was read; empty if nothing is."""
    if record.get("digest_format") != digest.FORMAT:
        logging.warning("checkpoint %d has digests of another version: not checked", step)
        return ""
    found = digest.digests(state)
    changed = [name for name, value in record["digests"].items() if found[name] != value]
    if not changed:
        return ""
    return f"_Damaged: {changed[0]} and {len(changed) - 1} more do not have their digest"


def _describe(tree: Any) -> dict[str, list]:
    """Shape and dtype of each leaf, by its path."""
    return {
        digest.path_name(path): [list(leaf.shape), np.dtype(leaf.dtype).name]
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _check_same(place: Path, stored: dict[str, list], wanted: dict[str, list]) -> None:
    for name in sorted(stored.keys() | wanted.keys()):
        there, here = stored.get(name), wanted.get(name)
        if there != here:
            raise UsageError(
                f"{place} is of another model: {name} is {_leaf(there)} there and {_leaf(here)} "
                "in this config; use its config or another --workdir"
            )


def _leaf(described: list | None) -> str:
    return "absent" if described is None else f"{described[1]}{tuple(described[0])}"


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _root(error: BaseException) -> str:
    """The first line of the error that began it: Orbax wraps what it meets."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _warn(step: int | None, cause: str) -> None:
    logging.warning("checkpoint %s was not written (%s); training goes on", step, cause)
