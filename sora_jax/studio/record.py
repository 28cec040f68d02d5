"""What made a video: a JSON beside each output, from which the same frames come again."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from sora_jax import files
from sora_jax.errors import RunError, UsageError
from sora_jax.export.bundle import model_digest

type Tool = Callable[..., dict[str, Any]]

TOOLS: dict[str, Tool] = {}  # by the name of the verb
_NOT_SAID = ("out", "progress", "timeline")
_PATHS = ("model", "source", "image", "first", "second", "mask", "board", "lut", "styles")


def tool(function: Tool) -> Tool:
    """Enter a function into TOOLS, and write OUT.json beside each video that it makes."""

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> dict[str, Any]:
        arguments = _arguments(function, args, kwargs)
        result = function(*args, **kwargs)
        if "output" not in result:
            return result
        path = Path(result["output"]).with_suffix(".json")
        details = result.pop("details")
        content = {
            "tool": function.__name__,
            "arguments": arguments,
            "result": result,
            **details,
            "versions": {"jax": jax.__version__, "device": jax.devices()[0].device_kind},
        }
        files.write_text(path, json.dumps(content, indent=1) + "\n")
        return result | {"record": str(path)}

    TOOLS[function.__name__] = recorded
    return recorded


def replay(record: str | Path, out: str | Path) -> dict[str, Any]:
    """Make the video of a record again. Raises RunError if its frames are not the same.

    The model and the files that went in must be what they were: a UsageError names what is not.
    """
    path = Path(record)
    content = _read(path)
    arguments = {name: _frozen(value) for name, value in content["arguments"].items()}
    for name, digest in content["inputs"].items():
        if not Path(name).is_file() or file_digest(name) != digest:
            raise UsageError(f"{name} is not the file that it was when {path.name} was written")
    model = arguments.get("model")  # what only finishes a video has none
    if model is not None and model_digest(model) != content["result"]["model_digest"]:
        raise UsageError(f"{model} is not the model that it was when {path.name} was written")
    result = TOOLS[content["tool"]](**arguments | {"out": str(out)})
    again = json.loads(Path(result["record"]).read_text())
    if again["frames_sha256"] != content["frames_sha256"]:
        now = {"jax": jax.__version__, "device": jax.devices()[0].device_kind}
        raise RunError(
            f"the frames in {out} are not those of {path.name}: it was made with "
            f"{content['versions']}, and this is {now}"
        )
    return result | {"identical": True}


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def takes_model(name: str) -> bool:
    """Whether a tool must be told a model."""
    parameter = inspect.signature(TOOLS[name]).parameters.get("model")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _arguments(function: Tool, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """All that a call says, as JSON: paths whole, and without what is left at None."""
    signature = inspect.signature(function)
    bound = signature.bind(*args, **kwargs).arguments
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    flat: dict[str, Any] = {}
    for name, value in bound.items():
        flat |= value if kinds[name] is inspect.Parameter.VAR_KEYWORD else {name: value}
    unsaid = [name for name, value in flat.items() if value is None or name in _NOT_SAID]
    flat = {name: value for name, value in flat.items() if name not in unsaid}
    return flat | {name: _whole(flat[name]) for name in _PATHS if name in flat}


def _whole(path: Any) -> Any:
    """A path, or each of several, from the root on; what is no file stays as it is."""
    if isinstance(path, (list, tuple)):
        return [_whole(item) for item in path]
    return str(Path(path).resolve()) if Path(path).exists() else path


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        known = content["tool"] in TOOLS and "frames_sha256" in content
    except FileNotFoundError as error:
        raise UsageError(f"no record {path}; it lies beside each video, as .json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no record of a video ({error!r})") from error
    if not known:
        raise UsageError(f"{path} is no record of {', '.join(TOOLS)}")
    return content


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
