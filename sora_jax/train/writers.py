"""Where metrics go: JSON lines (the record), wandb and the terminal (the views)."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, runtime_checkable

import tqdm

from sora_jax.errors import RunError

type Mode = Literal["offline", "online", "disabled"]

_SECRET = ("key", "token", "secret", "password")


@runtime_checkable
class Writer(Protocol):
    """Takes figures and video files of a step."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def videos(self, step: int, paths: dict[str, Path]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`metrics.jsonl`: one object a line with `step`, flushed as it is written."""

    def __init__(self, path: Path):
        self._path = path

    def scalars(self, step: int, values: dict[str, float]) -> None:
        line: dict[str, float | None] = {"step": step, "time": round(time.time(), 3)}
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunError(
                f"{self._path} can't be written ({error.strerror}); free space and run "
                "the same command again"
            ) from error

    def videos(self, step: int, paths: dict[str, Path]) -> None:
        """Samples lie in the run directory already."""

    def close(self) -> None:
        """Nothing is held open."""


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
