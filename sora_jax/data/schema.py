"""The training record: what is known of one clip, and its one stored form.

A record holds its clip either as an encoded video (mp4 bytes) or, once the VAE is frozen, as
latents; states of a text encoder may stand beside it. In a shard it is a flat mapping of TFDS
features: the columns that tools filter by stand alone, the rest is one JSON text, so that a new
optional field does not change the shards.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError

VERSION = 2


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption for the seconds [start, end) of a clip; a global one spans the whole clip."""

    text: str
    start: float
    end: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextStates:
    """What a text encoder says of a record's captions: S E for each, in their order."""

    encoder: str
    """Name of the encoder with its version: states of two encoders do not mix."""
    states: tuple[NDArray[np.floating], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One clip. Exactly one of `video` (mp4) and `latents` (n h w C, normalised) is set.

    `num_frames`, `height` and `width` count pixels even when only latents are stored. The first
    caption is the global one. `scores` are for filters (motion, aesthetic); `extra` is any JSON.
    """

    id: str
    captions: tuple[Caption, ...]
    fps: float
    num_frames: int
    height: int
    width: int
    video: bytes | None = None
    latents: NDArray[np.floating] | None = None
    text: TextStates | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""
    licence: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.video is None) == (self.latents is None):
            raise UsageError(f"record {self.id!r} needs a video or latents, and not both")
        if not (self.fps > 0 and math.isfinite(self.fps)) or min(self.shape) < 1:
            raise UsageError(
                f"record {self.id!r} has {self.fps} frames/s and shape {self.shape}; all must be"
                " positive"
            )
        if not self.captions:
            raise UsageError(f"record {self.id!r} has no caption; give it at least a global one")
        if self.latents is not None and self.latents.ndim != 4:
            raise UsageError(
                f"latents of record {self.id!r} have shape {self.latents.shape}; use n h w C"
            )
        if self.text is not None and len(self.text.states) != len(self.captions):
            raise UsageError(
                f"record {self.id!r} has {len(self.captions)} captions and text states of "
                f"{len(self.text.states)}; encode them again"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width in pixels."""
        return self.num_frames, self.height, self.width

    @property
    def caption(self) -> str:
        """The global caption."""
        return self.captions[0].text


def to_fields(record: VideoRecord) -> dict[str, Any]:
    """The record as the flat mapping that is stored; equal records give equal fields.

    Raises UsageError for details that JSON can't say, such as a score that is not a number.
    """
    details = {
        "captions": [dataclasses.astuple(caption) for caption in record.captions],
        "fps": float(record.fps),
        "latents": None if record.latents is None else _form(record.latents),
        "text": None
        if record.text is None
        else [record.text.encoder, [_form(states) for states in record.text.states]],
        "scores": record.scores,
        "source": record.source,
        "licence": record.licence,
        "extra": record.extra,
    }
    try:
        text = json.dumps(details, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"scores or extra of record {record.id!r} can't be said in JSON ({error}); leave it out"
        ) from error
    return {
        "version": VERSION,
        "id": record.id,
        "num_frames": record.num_frames,
        "height": record.height,
        "width": record.width,
        "video": record.video or b"",
        "latents": b"" if record.latents is None else _bytes(record.latents),
        "text_states": b""
        if record.text is None
        else b"".join(_bytes(states) for states in record.text.states),
        "details": text,
    }


def from_fields(fields: Mapping[str, Any]) -> VideoRecord:
    """The record that `to_fields` stored. Raises UsageError if the fields are not such."""
    version = int(fields["version"])
    if version != VERSION:
        raise UsageError(f"record version is {version}, this code reads {VERSION}; write it again")
    try:
        details = json.loads(_text(fields["details"]))
        latents = None
        if details["latents"] is not None:
            (latents,) = _arrays(fields["latents"], [details["latents"]])
        text = None
        if details["text"] is not None:
            encoder, forms = details["text"]
            text = TextStates(encoder=encoder, states=tuple(_arrays(fields["text_states"], forms)))
        return VideoRecord(
            id=_text(fields["id"]),
            captions=tuple(Caption(*values) for values in details["captions"]),
            fps=details["fps"],
            num_frames=int(fields["num_frames"]),
            height=int(fields["height"]),
            width=int(fields["width"]),
            video=bytes(fields["video"]) or None,
            latents=latents,
            text=text,
            scores=details["scores"],
            source=details["source"],
            licence=details["licence"],
            extra=details["extra"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"record {_text(fields['id'])!r} is damaged ({error}); write it again"
        ) from error


def digest(fields: Mapping[str, Any]) -> bytes:
    """SHA-256 of a record's fields, payload included, as `to_fields` gives them or a shard does.

    It depends on the values alone, and not on how a shard stores them.
    """
    parts = []
    for name in sorted(fields):
        value = fields[name]
        content = value if isinstance(value, bytes) else str(value).encode()
        parts += [f"{name} {len(content)} ".encode(), content]
    return hashlib.sha256(b"".join(parts)).digest()


def _form(array: NDArray[np.floating]) -> list[Any]:
    """Type and shape of a stored array."""
    return [array.dtype.name, list(array.shape)]


def _bytes(array: NDArray[np.floating]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _arrays(content: bytes, forms: Sequence[Any]) -> list[NDArray[np.floating]]:
    """Arrays that lie one behind the other. Raises ValueError if they are not just that long."""
    arrays, start = [], 0
    for dtype, shape in forms:
        size = math.prod(shape)
        arrays.append(np.frombuffer(content, dtype, size, start).reshape(shape))
        start += np.dtype(dtype).itemsize * size
    if start != len(content):
        raise ValueError(f"{len(content)} bytes where {start} are stated")
    return arrays


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
