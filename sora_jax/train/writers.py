"""Where metrics go: JSON lines (the record), wandb and the terminal (the views).

None of them can end or change a training: what can't be written is kept, or told and given up.
"""

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, runtime_checkable

import tqdm

type Mode = Literal["offline", "online", "disabled"]

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
    """Weights & Biases; `mode` is offline, online or disabled."""

    def __init__(self, directory: Path, name: str, config: dict[str, Any], mode: Mode):
        import wandb  # takes half a second, and only training wants it

        self._wandb = wandb
        self._run = wandb.init(
            dir=str(directory),
            project="sora_jax",
            name=name,
            mode=mode,
            config=redact(config),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        self._run.log(
            {name: self._wandb.Video(str(path), format="mp4") for name, path in paths.items()},
            step=step,
        )

    def close(self) -> None:
        self._run.finish()


class Sink:
    """A writer that may fail: at its first error it is told of and left out."""

    def __init__(self, name: str, make: Callable[[], Writer]):
        self._name = name
        self._writer: Writer | None = None
        with self._may_fail():
            self._writer = make()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        with self._may_fail():
            if self._writer:
                self._writer.scalars(step, values)

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        with self._may_fail():
            if self._writer:
                self._writer.videos(step, paths)

    def close(self) -> None:
        with self._may_fail():
            if self._writer:
                self._writer.close()

    @contextlib.contextmanager
    def _may_fail(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a service or its library comes up with
            self._writer = None
            logging.warning(
                "%s is left out from here on (%s); metrics.jsonl has everything", self._name, error
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
