"""From experiment files (ConfigDict) to frozen dataclasses, at one boundary that checks it all.

`load` runs an experiment file and applies the command line's overrides; `resolve` turns the
result into the dataclasses that the rest of the package takes. Below this file nothing knows
ConfigDict, so a misspelt or missing field is an error here and never a silent default.
"""

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from sora_jax import files
from sora_jax.errors import UsageError


class Difference(NamedTuple):
    """One field in which two configs differ; a missing field has the value `ABSENT`."""

    field: str
    first: Any
    second: Any

    def __str__(self) -> str:
        """The field with both values, for an error message."""
        return f"{self.field} ({self.first!r} -> {self.second!r})"


ABSENT = "<absent>"


def resolve[T](cls: type[T], values: Mapping[str, Any] | ConfigDict) -> T:
    """Build the frozen dataclass `cls`, and those nested in it, from nested mappings.

    Raises UsageError for an unknown field (with the nearest name), a missing one or a value of
    another type. An int is taken where a float is wanted, never the other way round.
    """
    return _build(cls, values, "")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as nested plain dicts."""
    return dataclasses.asdict(config)


def save_json(path: str | Path, config: Any) -> None:
    """Write a config dataclass or mapping as JSON; `load_json` reads it back equal."""
    files.write_text(path, json.dumps(_plain(config), indent=2) + "\n")


def load_json[T](cls: type[T], path: str | Path) -> T:
    """Read what `save_json` wrote, with the checks of `resolve`."""
    try:
        values = json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UsageError(f"no config at {path}; name a run directory or a bundle") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON ({error}); restore it or start afresh") from error
    return resolve(cls, values)


def difference(first: Any, second: Any) -> list[Difference]:
    """The fields in which two configs (dataclasses or mappings) differ, by dotted name."""
    a, b = _flatten(_plain(first)), _flatten(_plain(second))
    names = [*a, *(name for name in b if name not in a)]
    found = [Difference(name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in names]
    return [item for item in found if item.first != item.second]


def load(spec: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Run `get_config` of an experiment and apply overrides such as {"train.batch_size": "8"}.

    `spec` is FILE[:ARG]: a path to a Python file, or its name in the `experiments` package with
    or without the leading "experiments/" and the ".py". ARG goes to `get_config`. Overrides are
    Python literals (anything else is a string) and may only name fields that exist.
    """
    name, _, argument = spec.partition(":")
    config = _run_get_config(_find_experiment(name), argument)
    for key, text in (overrides or {}).items():
        _override(config, key, text)
    config.lock()
    return config


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"it has {', '.join(known) or 'none'}"


def _build(cls: Any, values: Any, path: str) -> Any:
    if isinstance(values, ConfigDict):
        values = values.to_dict()
    if not isinstance(values, Mapping):
        raise UsageError(f"{path or cls.__name__} is {values!r}; it must be a mapping of fields")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in values:
        if name not in fields:
            place = f" (at {path})" if path else ""
            hint = suggest(str(name), fields)
            raise UsageError(f"{cls.__name__} has no field {name!r}{place}; {hint}")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        where = f"{path}.{name}" if path else name
        if name in values:
            arguments[name] = _convert(hints[name], values[name], where)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{cls.__name__} needs the field {where!r}; add it to the config")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UsageError(f"{path}: {error}" if path else str(error)) from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type that `hint` names, or a UsageError that says where it stands."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _build(hint, value, path)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, arguments, value, path)
    if origin is typing.Literal:
        if value not in arguments:
            raise UsageError(
                f"{path} is {value!r}; it must be one of {', '.join(map(repr, arguments))}"
            )
        return value
    if origin is tuple:
        return _convert_tuple(hint, arguments, value, path)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _wrong_type(hint, value, path)
        inner = arguments[1] if arguments else Any
        return {key: _convert(inner, item, f"{path}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _wrong_type(hint, value, path)
    return value


def _convert_union(hint: Any, choices: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    errors = []
    for choice in choices:
        if choice is not type(None):
            try:
                return _convert(choice, value, path)
            except UsageError as error:
                errors.append(error)
    # With one real choice its own message says more than the union's name.
    raise errors[0] if len(errors) == 1 else _wrong_type(hint, value, path)


def _convert_tuple(hint: Any, arguments: tuple[Any, ...], value: Any, path: str) -> tuple:
    if not isinstance(value, (tuple, list)):
        raise _wrong_type(hint, value, path)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise UsageError(f"{path} is {value!r}; it must have {len(arguments)} entries")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_convert(inner, item, f"{path}[{i}]") for i, (inner, item) in pairs)


def _wrong_type(hint: Any, value: Any, path: str) -> UsageError:
    wanted = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return UsageError(f"{path} is {value!r} ({type(value).__name__}); it must be {wanted}")


def _plain(config: Any) -> Any:
    """Nested dicts, lists and scalars, as JSON would give them back."""
    if isinstance(config, ConfigDict):
        config = config.to_dict()
    elif dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    return json.loads(json.dumps(config, allow_nan=False))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _find_experiment(name: str) -> Path:
    if Path(name).suffix == ".py" and Path(name).is_file():
        return Path(name)
    spec = importlib.util.find_spec("experiments")
    roots = list(spec.submodule_search_locations or []) if spec else []
    inside = name.removeprefix("experiments/").removesuffix(".py")
    for root in roots:
        path = Path(root) / f"{inside}.py"
        if path.is_file():
            return path
    known = {
        path.relative_to(root).with_suffix("").as_posix()
        for root in roots
        for path in Path(root).rglob("*.py")
        if path.name not in ("__init__.py", "base.py")
    }
    raise UsageError(f"no experiment {name!r}; {suggest(inside, known)}")


def _run_get_config(path: Path, argument: str) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_config: Callable[..., ConfigDict] | None = getattr(module, "get_config", None)
    if get_config is None:
        raise UsageError(f"{path} has no get_config(); an experiment file must define it")
    if inspect.signature(get_config).parameters:
        return get_config(argument)
    if argument:
        raise UsageError(f"{path} takes no argument; got {argument!r} after the colon")
    return get_config()


def _override(config: ConfigDict, key: str, text: str) -> None:
    *parents, last = key.split(".")
    node = config
    for depth, name in enumerate([*parents, last]):
        if not isinstance(node, ConfigDict) or name not in node:
            place = ".".join(key.split(".")[:depth]) or "the config"
            known = node.keys() if isinstance(node, ConfigDict) else ()
            raise UsageError(f"{place} has no field {name!r}; {suggest(name, known)}")
        if depth < len(parents):
            node = node[name]
    old = node[last]
    value = text if isinstance(old, str) else _literal(text)
    if isinstance(old, ConfigDict) or not _may_replace(old, value):
        raise UsageError(f"--config.{key}={text} has another type than its default {old!r}")
    with node.ignore_type():
        node[last] = float(value) if isinstance(old, float) and value is not None else value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _may_replace(old: Any, value: Any) -> bool:
    if old is None or value is None or type(old) is type(value):
        return True
    if isinstance(old, float):
        return type(value) is int
    return isinstance(old, (tuple, list)) and isinstance(value, (tuple, list))
