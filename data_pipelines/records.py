"""What the offline stages pass along: one frozen, JSON-able record for each clip to be.

A record begins as the path of a source file and gathers facts from stage to stage: probe, span,
cut file, scores, decision, captions. Each stage is a pure function of one record that gives the
records that follow from it, so it can be run again, anywhere and in any order.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from sora_jax.data.schema import Caption

ID_DIGITS = 24  # of a SHA-256 in hex: 96 bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """What is known of a source file. `fps` is the mean rate; a still image has one frame, fps 0.

    `height` and `width` are those of the upright picture. `num_frames` is 0 where the header does
    not say.
    """

    format: str
    codec: str
    num_frames: int
    height: int
    width: int
    fps: float
    is_variable: bool = False
    num_bytes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Media:
    """The cut clip: an mp4 of exactly this shape at `path`, relative to the working directory.

    `crop` is (top, left, height, width) of what was kept of the upright source picture.
    """

    path: str
    sha256: str
    num_frames: int
    height: int
    width: int
    fps: float
    crop: tuple[int, int, int, int]

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.num_frames / self.fps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether the clip goes into the shards; if not, for which reasons, the first being the main.

    A reason is (name, sentence): the name is what yields are counted by, the sentence gives value,
    limit and remedy.
    """

    is_kept: bool
    reasons: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """One source file, shot or clip, with everything that the stages so far have found.

    `id` is a hash of the source's bytes, the span and the settings of the cut, so equal work has
    an equal id wherever it is done. `path` is where the source lies on this machine and is never
    stored in shards; `source` is its name below the folder that was given.
    """

    id: str
    path: str
    source: str
    source_sha256: str = ""
    licence: str = ""
    probe: Probe | None = None
    span: tuple[float, float] | None = None
    """Seconds [start, end) in the source, from its first frame."""
    cuts: tuple[str, str] | None = None
    """How the shot begins and ends: "file", "hard", "fade" or "length"."""
    media: Media | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    """Perceptual hashes of frames, 16 hex digits each."""
    duplicate_of: str = ""
    decision: Decision | None = None
    captions: tuple[Caption, ...] = ()
    """In seconds of the clip; the first is the global one."""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Any JSON, such as who or what wrote the caption."""

    @property
    def is_rejected(self) -> bool:
        """Whether some stage has turned the record down; later stages pass it on as it is."""
        return self.decision is not None and not self.decision.is_kept

    def replace(self, **changes: Any) -> "ClipRecord":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def reject(self, name: str, reason: str) -> "ClipRecord":
        """A copy that is turned down for one reason."""
        return self.replace(decision=Decision(is_kept=False, reasons=((name, reason),)))


class Stage(Protocol):
    """A pure, idempotent step: one record in, the records that follow from it out.

    A file that is bad is a UsageError or LimitError, never a crash; `apply` turns it into a
    rejected record. Stages are frozen dataclasses of settings, so they can be sent to workers.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, record: ClipRecord) -> list[ClipRecord]: ...


def to_json(record: ClipRecord) -> str:
    """One line of JSON, the same for equal records."""
    return json.dumps(dataclasses.asdict(record), sort_keys=True, separators=(",", ":"))


def from_json(line: str) -> ClipRecord:
    """The record that `to_json` wrote. Raises ValueError if it is not one."""
    values = json.loads(line)
    try:
        return ClipRecord(
            **values
            | {
                "probe": values["probe"] and Probe(**values["probe"]),
                "span": _pair(values["span"]),
                "cuts": _pair(values["cuts"]),
                "media": values["media"] and _media(values["media"]),
                "hashes": tuple(values["hashes"]),
                "decision": values["decision"] and _decision(values["decision"]),
                "captions": tuple(Caption(**caption) for caption in values["captions"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record ({error}): {line[:60]}") from error


def content_id(*parts: Any) -> str:
    """A short hash of JSON-able parts: the id of whatever they determine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def seed(path: Path, root: Path) -> ClipRecord:
    """The record with which a source file enters the pipeline, before it is opened.

    Its id depends on the place, size and time of change of the file and of the JSON beside it;
    `ingest` gives one of the content.
    """
    source = path.relative_to(root).as_posix()
    places = [place for place in (path, path.with_suffix(".json")) if place.exists()]
    facts = [place.stat() for place in places]
    name = content_id("seed", source, [(fact.st_size, fact.st_mtime_ns) for fact in facts])
    return ClipRecord(id=name, path=str(path), source=source)


def _pair(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)


def _media(values: dict[str, Any]) -> Media:
    return Media(**values | {"crop": tuple(values["crop"])})


def _decision(values: dict[str, Any]) -> Decision:
    return Decision(
        is_kept=values["is_kept"], reasons=tuple((name, text) for name, text in values["reasons"])
    )
