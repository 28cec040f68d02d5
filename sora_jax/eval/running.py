"""Running a model over many clips: whole batches, progress, and examples to look at."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import t2v
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request

type Progress = Callable[[str, int, int], None]  # what is done now, clips done, clips in all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A clip to look at in the report."""

    group: str
    prompt: str
    video: NDArray[np.uint8]  # T H W 3
    is_right: bool | None = None
    """None where nothing is judged."""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures, as they go into a report, and examples for its readers."""

    figures: dict[str, Any]
    examples: tuple[Example, ...]


class Runner:
    """Runs functions of rows in batches of one size, so that each is compiled once."""

    def __init__(self, engine: Engine, total: int, progress: Progress | None = None):
        self._size = engine.max_batch
        self._total = total
        self._done = 0
        self._progress = progress

    def __call__(
        self, title: str, count: int, function: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """`function` of the rows 0 ... count - 1, batch by batch.

        The last batch is filled up with the last row again, as a smaller one would be compiled.
        """
        parts = []
        size = min(self._size, count)
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            parts.append(np.asarray(function(rows)))
            self._done += min(size, count - start)
            if self._progress is not None:
                self._progress(title, self._done, self._total)
        return np.concatenate(parts)[:count]


def time_one(engine: Engine, request: Request, settings: SamplingConfig, repeats: int = 3) -> float:
    """Median seconds to sample and decode a single clip, once it is compiled."""
    t2v.generate(engine, [request], settings)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        t2v.generate(engine, [request], settings)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def vae_facts(engine: Engine) -> dict[str, Any]:
    """Pixel values for each latent value, and the number of parameters."""
    vae = engine.model.vae
    return {
        "compression": vae.patch_values / vae.channels,
        "params": count_params(engine.bundle.params["vae"]),
    }


def count_params(params: dict[str, Any]) -> int:
    """Number of values in nested params."""
    return sum(
        count_params(value) if isinstance(value, dict) else int(np.size(value))
        for value in params.values()
    )
