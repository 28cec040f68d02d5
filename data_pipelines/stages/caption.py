"""`caption`: words for each kept clip, from whatever has some: files, metadata, a model.

A captioner is any function of (record, look) that gives captions in seconds of the clip; one that
spans the whole clip is a global one. `look(count, max_side)` gives frames of the source. Captioners
are asked in order until one gives a global caption; timed captions found on the way are kept too.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipelines.endpoint import Endpoint, EndpointConfig
from data_pipelines.frames import source_frames
from data_pipelines.records import ClipRecord
from data_pipelines.stages.ingest import json_object, read_text
from data_pipelines.stages.score import load_plugin
from sora_jax.data.schema import Caption
from sora_jax.errors import UsageError

type Look = Callable[[int, int], list[NDArray[np.uint8]]]
type Captioner = Callable[[ClipRecord, Look], list[Caption]]

SLOW, FAST = 8.0, 60.0  # percent of the short side a second
DARK, LIGHT = 0.25, 0.7


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Who is asked for captions, in order: "sidecar", "template", "endpoint" or a plug-in.

    A plug-in is "package.module:function". `template` may use {title}, {stem}, {speed} (still,
    slow, fast), {light} (dark, bright or nothing) and {seconds}.
    """

    order: tuple[str, ...] = ("sidecar", "template")
    template: str = "{title}"
    endpoint: EndpointConfig = EndpointConfig()

    def __post_init__(self) -> None:
        for name in self.order:
            if name not in ("sidecar", "template", "endpoint") and ":" not in name:
                raise ValueError(
                    f"captioner {name!r} is not sidecar, template, endpoint or package.module:name"
                )
        if "endpoint" in self.order and not self.endpoint.url:
            raise ValueError("captioner endpoint needs caption.endpoint.url and .model")


@dataclasses.dataclass(frozen=True)
class CaptionStage:
    """The stage: a kept record in, the same with captions out; rejected if there are none.

    `key` is the endpoint's API key: it is never written.
    """

    config: CaptionConfig
    directory: str = dataclasses.field(repr=False)
    key: str = dataclasses.field(default="", repr=False)
    name: str = "caption"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        assert record.media is not None
        seconds = record.media.seconds
        timed: list[Caption] = []
        for name in self.config.order:
            found = self._captioner(name)(record, functools.partial(source_frames, record))
            whole = [c for c in found if c.start <= 0 and c.end >= seconds - 1e-6]
            timed = timed or [c for c in found if c not in whole]
            if whole:
                said = record.extra | {"captioner": self._origin(name)}
                return [record.replace(captions=(whole[0], *whole[1:], *timed), extra=said)]
        stem = Path(record.source).with_suffix("")
        return [
            record.reject(
                "no_caption",
                f"none of {', '.join(self.config.order)} has a caption for {record.source}; write"
                f" {stem}.txt beside it",
            )
        ]

    def _captioner(self, name: str) -> Captioner:
        if name == "sidecar":
            return sidecar
        if name == "template":
            return lambda record, _: from_template(record, self.config.template)
        if name == "endpoint":
            return Endpoint(self.config.endpoint, self.directory, self.key)
        return load_plugin(name)

    def _origin(self, name: str) -> dict[str, Any]:
        """Who or what wrote a caption, as it goes into the record."""
        if name == "template":
            return {"name": name, "template": self.config.template}
        if name == "endpoint":
            endpoint = self.config.endpoint
            return {"name": name, "model": endpoint.model, "prompt": endpoint.prompt}
        return {"name": name}


def sidecar(record: ClipRecord, look: Look) -> list[Caption]:
    """Captions from NAME.txt (one for the whole file), NAME.json or NAME.jsonl beside the source.

    JSON has "caption" and "captions", a list of {"text", "start", "end"} in seconds of the source;
    JSON lines have one of those a line. A timed caption over at least half of the clip is also its
    global one if there is none else. Raises UsageError for a file that can't be read.
    """
    assert record.media is not None and record.span is not None
    path = Path(record.path)
    seconds = record.media.seconds
    whole: list[str] = []
    timed: list[Caption] = []
    if (text := path.with_suffix(".txt")).is_file():
        whole.append(read_text(text))
    for values in _objects(path):
        if "start" in values or "end" in values:
            timed += _within(values, record.span, seconds)
        else:
            whole.append(str(values.get("text", "")))
    texts = [" ".join(text.split()) for text in whole]
    found = [Caption(text, 0.0, seconds) for text in texts if text]
    if not found and timed:
        longest = max(timed, key=lambda caption: caption.end - caption.start)
        if longest.end - longest.start >= seconds / 2:
            found = [Caption(longest.text, 0.0, seconds)]
    return found + [c for c in timed if (c.start, c.end) != (0.0, seconds)]


def from_template(record: ClipRecord, template: str) -> list[Caption]:
    """One global caption made of what is known; none if the words that it needs are not."""
    assert record.media is not None
    motion, light = record.scores.get("motion", 0.0), record.scores.get("brightness", 0.5)
    words = {
        "title": record.extra.get("title", ""),
        "stem": Path(record.source).stem.replace("_", " "),
        "speed": "still" if motion < SLOW else "fast" if motion > FAST else "slow",
        "light": "dark" if light < DARK else "bright" if light > LIGHT else "",
        "seconds": f"{record.media.seconds:.0f}",
    }
    if "{title}" in template and not words["title"]:
        return []
    try:
        text = " ".join(template.format(**words).split())
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"caption.template {template!r} can't be filled ({error}); it may use"
            f" {', '.join('{' + word + '}' for word in words)}"
        ) from error
    return [Caption(text, 0.0, record.media.seconds)] if text else []


def _objects(path: Path) -> list[dict[str, Any]]:
    """The captions of NAME.json and NAME.jsonl as objects."""
    found = []
    if (whole := path.with_suffix(".json")).is_file():
        values = json_object(whole.name, read_text(whole))
        found += [{"text": values["caption"]}] if values.get("caption") else []
        captions = values.get("captions", [])
        if not isinstance(captions, list) or not all(isinstance(c, dict) for c in captions):
            raise UsageError(f'{whole.name}: "captions" must be a list of objects; correct it')
        found += captions
    if (lines := path.with_suffix(".jsonl")).is_file():
        for number, line in enumerate(read_text(lines).splitlines(), 1):
            if line.strip():
                found.append(json_object(f"{lines.name} line {number}", line))
    return found


def _within(values: dict[str, Any], span: tuple[float, float], seconds: float) -> list[Caption]:
    """A caption of the source in seconds of the clip, if it says something of it."""
    try:
        text = " ".join(str(values["text"]).split())
        start, end = float(values["start"]) - span[0], float(values["end"]) - span[0]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"caption {json.dumps(values)[:80]} needs text, start and end in seconds; correct it"
        ) from error
    start, end = max(0.0, start), min(seconds, end)
    return [Caption(text, start, end)] if text and end - start > 1e-3 else []
