"""Styles: looks by name, those that come with the package and those of a user's own file.

amber:
  prompt: "{prompt} in amber light"   # said only to a model that knows these words
  negative: snow
  cfg_scale: 2.5
  post: {warmth: 0.9, contrast: 0.9}  # steps of `sora-jax post`
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sora_jax.errors import UsageError, check_name
from sora_jax.post import chain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """A look: words around the prompt, what guidance does, and what is done to the pictures."""

    prompt: str = "{prompt}"
    negative: str = ""
    cfg_scale: float | None = None  # None: the model's own
    post: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of chain.Steps


STYLES = {
    "noir": Style(prompt="{prompt} in black and white", post={"saturation": 0.0, "contrast": 1.3}),
    "vivid": Style(prompt="{prompt} in vivid colours", post={"saturation": 1.5, "contrast": 1.15}),
    "pastel": Style(prompt="{prompt} in pastel colours", post={"saturation": 0.5, "exposure": 0.5}),
    "faded": Style(prompt="{prompt} on faded film", post={"saturation": 0.7, "contrast": 0.6}),
    "retro": Style(prompt="{prompt} in old warm colours", post={"warmth": 0.8, "contrast": 0.85}),
}


def find_style(name: str, path: str | Path | None = None) -> Style:
    """A style of the file at `path`, or of STYLES. Raises UsageError, naming those there are."""
    styles = STYLES | (read_styles(Path(path)) if path is not None else {})
    check_name("style", name, styles)
    return styles[name]


def read_styles(path: Path) -> dict[str, Style]:
    """The styles of a YAML file by their names. Raises UsageError for what is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"no file of styles {path}; name a YAML file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} has no styles; write NAME: and its fields below it")
    return {str(name): _style(f"style {name!r}", fields) for name, fields in content.items()}


def _style(name: str, fields: Any) -> Style:
    if not isinstance(fields, dict):
        raise UsageError(f"{name} must have fields, such as post: {{saturation: 0}}")
    for key in fields:
        check_name(
            f"field of {name}", str(key), [field.name for field in dataclasses.fields(Style)]
        )
    prompt, scale = fields.get("prompt", "{prompt}"), fields.get("cfg_scale")
    is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
    for key, is_right, wanted in (
        ("prompt", isinstance(prompt, str) and "{prompt}" in prompt, "{prompt} in it"),
        ("negative", isinstance(fields.get("negative", ""), str), "text"),
        ("cfg_scale", scale is None or is_number, "a number"),
        ("post", isinstance(fields.get("post", {}), dict), "steps below it"),
    ):
        if not is_right:
            raise UsageError(f"{name} has {key} {fields[key]!r}; it must have {wanted}")
    style = Style(**fields)
    chain.finish([], chain.make_steps(**style.post))  # raises for what is no step or value
    return style
