"""The tools in Python: one object that knows its model and has a method for each verb."""

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MODULES = ("facade", "edits", "boards", "latents", "finish")  # whose tools these are


class Studio:
    """All tools of the command line, with the same names, arguments and results.

    studio = Studio("toyworld")
    studio.generate("a red circle moves left", "out.mp4", seed=3)
    studio.recut("out.mp4", "cut.mp4", keep=[(0, 0.5), (1, 2)], fill=0.5, timeline="cut.otio")
    studio.post("cut.mp4", "story.mp4", white_balance=True, profile="story")

    What a method takes after the model is said by `help(studio.recut)`; sizes are (height, width).
    `upscale` has a network of its own and takes it first. Mistakes raise `sora_jax.errors`.
    """

    def __init__(self, model: str | Path = "toyworld"):
        self.model = str(model)

    def analyze(self, what: str) -> dict[str, Any]:
        """What is in a prompt, a picture or a video (`studio.analyze`); no model is asked."""
        return importlib.import_module("sora_jax.studio.analyze").analyze(what)

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        tools = _tools()
        if name == "upscale" or (name in tools and not _takes_model(tools[name])):
            return tools[name]
        if name not in tools:
            raise AttributeError(f"Studio has no tool {name!r}; it has {', '.join(sorted(tools))}")
        return functools.update_wrapper(functools.partial(tools[name], self.model), tools[name])

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_tools()]


@functools.cache
def _tools() -> dict[str, Callable[..., dict[str, Any]]]:
    """Every tool by its name; what is heavy is imported with the first that is asked for."""
    for name in _MODULES:
        importlib.import_module(f"sora_jax.studio.{name}")
    record = importlib.import_module("sora_jax.studio.record")
    return dict(record.TOOLS)


def _takes_model(tool: Callable[..., Any]) -> bool:
    return "model" in inspect.signature(tool).parameters
