"""Where metrics go: JSON lines (the record), wandb and the terminal (the views).

None of them can end or change a training: what can't be written is kept, or told and given up.
"""

import functools
import json
import logging
import math
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, runtime_checkable

import tqdm

type Mode = Literal["offline", "online", "disabled"]

_PATIENCE = 60.0  # seconds that a service gets at the end of a run; half of it at its start
_BEHIND = 10_000  # lines that may wait for a service
_SECRET = ("key", "token", "secret", "password")


@runtime_checkable
class Writer(Protocol):
    """Takes figures and video files of a step."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def videos(self, step: int, paths: dict[str, Path]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`metrics.jsonl`: one object a line with `step`, on disk as soon as it is written.

    Lines that can't be written (a full disk) wait, and go out with the next one that can.
    """

    def __init__(self, path: Path):
        self._path = path
        self._waiting: list[str] = []

    def scalars(self, step: int, values: dict[str, float]) -> None:
        line: dict[str, float | None] = {"step": step, "time": round(time.time(), 3)}
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._waiting.append(json.dumps(line) + "\n")
        try:
            self._write("".join(self._waiting).encode())
        except OSError as error:
            if len(self._waiting) == 1:  # told once, not with every line
                logging.warning("%s can't be written (%s); its lines wait", self._path, error)
            return
        self._waiting = []

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        """Samples lie in the run directory already."""

    def close(self) -> None:
        if self._waiting:
            logging.warning("%s lacks its last %d lines", self._path, len(self._waiting))

    def _write(self, content: bytes) -> None:
        """All of it or, but for a crash, nothing."""
        with self._path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise


class Wandb:
    """Weights & Biases; `mode` is offline or online. A run that goes on keeps its id.

    Where the server can't be reached it writes offline, for `wandb sync` to send. What it can't
    send at the end within a minute stays on disk as well.
    """

    def __init__(self, directory: Path, name: str, config: dict[str, Any], mode: Mode):
        import wandb  # takes half a second, and only training wants it

        self._wandb = wandb
        begin = functools.partial(
            wandb.init,
            dir=str(directory),
            project="sora_jax",
            name=name,
            id=_kept_id(directory / "wandb" / f"{name}.id"),
            config=redact(config),
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_PATIENCE / 2,
                finish_timeout=_PATIENCE,
                x_graphql_retry_max=3,
                x_file_stream_retry_max=3,
                x_file_transfer_retry_max=3,
            ),
        )
        try:
            self._run = begin(mode=mode, resume="allow" if mode == "online" else None)
        except (wandb.errors.CommError, wandb.errors.UsageError) as error:
            if mode != "online":
                raise
            logging.warning("wandb writes offline from here on (%s)", _first_line(error))
            self._run = begin(mode="offline")
        # Steps are a figure like others: wandb's own must rise, and a rolled-back run's do not.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step} | values)

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        shown = {name: self._wandb.Video(str(path), format="mp4") for name, path in paths.items()}
        self._run.log({"step": step} | shown)

    def close(self) -> None:
        self._run.finish()


class Sink:
    """A writer that may fail or hang: it works in a thread of its own.

    At its first error, or when it has fallen behind, it is told of and left out.
    """

    def __init__(self, name: str, make: Callable[[], Writer], patience: float = 1.5 * _PATIENCE):
        self._name, self._patience = name, patience
        self._is_left_out = False
        self._work: queue.Queue[Callable[[Writer], None] | None] = queue.Queue(_BEHIND)
        self._thread = threading.Thread(target=self._run, args=(make,), daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._put(lambda writer: writer.scalars(step, values))

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        self._put(lambda writer: writer.videos(step, paths))

    def close(self) -> None:
        """Wait until it has done its work, but not for ever."""
        self._put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._leave_out(f"it did not finish within {self._patience:g} s")

    def _put(self, work: Callable[[Writer], None] | None) -> None:
        if not self._is_left_out:
            try:
                self._work.put_nowait(work)
            except queue.Full:
                self._leave_out(f"it is {_BEHIND} lines behind")

    def _run(self, make: Callable[[], Writer]) -> None:
        try:
            writer = make()
            while (work := self._work.get()) is not None:
                work(writer)
            writer.close()
        except Exception as error:  # whatever a service or its library comes up with
            self._leave_out(_first_line(error))

    def _leave_out(self, cause: str) -> None:
        if not self._is_left_out:
            self._is_left_out = True
            logging.warning(
                "%s is left out from here on (%s); metrics.jsonl has everything", self._name, cause
            )


class Progress:
    """A bar on standard error: share of the run, time that is left, step and loss."""

    def __init__(self, title: str, done: float = 0.0, stream: TextIO = sys.stderr):
        self._bar = tqdm.tqdm(
            total=1.0,
            initial=done,
            desc=title,
            file=stream,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            dynamic_ncols=True,
            mininterval=0.5 if stream.isatty() else 20,
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if "progress" not in values:  # figures of an evaluation
            return
        shown = {k: f"{values[k]:.4g}" for k in ("loss", "psnr") if k in values}
        self._bar.set_postfix({"step": step} | shown, refresh=False)
        self._bar.update(values["progress"] - self._bar.n)

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        """A terminal shows no videos."""

    def close(self) -> None:
        self._bar.close()


def redact(config: dict[str, Any]) -> dict[str, Any]:
    """The config without values whose name says that they are secret: wandb stores plain text."""
    return {
        name: redact(value)
        if isinstance(value, dict)
        else "<redacted>"
        if any(word in name.lower().split("_") for word in _SECRET)
        else value
        for name, value in config.items()
    }


def _kept_id(path: Path) -> str:
    """The id in the file, which is written if there is none."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(4))
    return path.read_text()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
