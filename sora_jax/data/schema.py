"""The training record: what is known of one clip, and its one stored form.

A record holds its clip either as an encoded video (mp4 bytes) or, once the VAE is frozen, as
latents. In a shard it is a flat mapping of TFDS features: the columns that tools filter by stand
alone, the rest is one JSON text, so that a new optional field does not change the shards.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption for the seconds [start, end) of a clip; a global one spans the whole clip."""

    text: str
    start: float
    end: float


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
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""
    licence: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.video is None) == (self.latents is None):
            raise UsageError(f"record {self.id!r} needs a video or latents, and not both")
        if not self.captions:
            raise UsageError(f"record {self.id!r} has no caption; give it at least a global one")
        if self.latents is not None and self.latents.ndim != 4:
            raise UsageError(
                f"latents of record {self.id!r} have shape {self.latents.shape}; use n h w C"
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
    """The record as the flat mapping that is stored."""
    latents = record.latents
    details = {
        "captions": [dataclasses.astuple(caption) for caption in record.captions],
        "fps": record.fps,
        "latents": None if latents is None else [latents.dtype.name, list(latents.shape)],
        "scores": record.scores,
        "source": record.source,
        "licence": record.licence,
        "extra": record.extra,
    }
    return {
        "version": VERSION,
        "id": record.id,
        "num_frames": record.num_frames,
        "height": record.height,
        "width": record.width,
        "video": record.video or b"",
        "latents": b"" if latents is None else np.ascontiguousarray(latents).tobytes(),
        "details": json.dumps(details, separators=(",", ":")),
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
            dtype, shape = details["latents"]
            latents = np.frombuffer(fields["latents"], np.dtype(dtype)).reshape(shape)
        return VideoRecord(
            id=_text(fields["id"]),
            captions=tuple(Caption(*values) for values in details["captions"]),
            fps=details["fps"],
            num_frames=int(fields["num_frames"]),
            height=int(fields["height"]),
            width=int(fields["width"]),
            video=bytes(fields["video"]) or None,
            latents=latents,
            scores=details["scores"],
            source=details["source"],
            licence=details["licence"],
            extra=details["extra"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"record {_text(fields['id'])!r} is damaged ({error}); write it again"
        ) from error


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
