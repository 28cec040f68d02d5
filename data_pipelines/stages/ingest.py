"""`ingest`: look at a source file, hash it, and refuse what no later stage should meet.

Packets are counted without decoding them, so a cut file is found at once, and the rate is the one
that the time stamps give, whatever the header says.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.records import ClipRecord, Probe, content_id
from sora_jax import media
from sora_jax.errors import LimitError, UsageError

MEDIA_SUFFIXES = frozenset(
    ".3gp .avi .avif .bmp .flv .gif .jpeg .jpg .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogg"
    " .ogv .png .tif .tiff .ts .webm .webp .wmv .y4m".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Limits on one source file.

    `max_expansion` is of decoded bytes over stored bytes, and holds for files that decode to more
    than `free_bytes`: a film has about 800, a screen recording 4,000, a bomb 40,000.
    """

    max_frames: int = 2**20
    max_frame_pixels: int = 2**25
    max_expansion: float = 10_000.0
    free_bytes: int = 2**30


@dataclasses.dataclass(frozen=True)
class Ingest:
    """The stage: one record of a path in, the same with hash, probe, licence and title out."""

    config: IngestConfig
    name: str = "ingest"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        path = Path(record.path)
        if path.is_file() and not path.stat().st_size:
            raise UsageError(f"{record.source} is empty; copy it again")
        found = probe(path, self.config)
        self._check(record.source, found)
        digest = file_sha256(path)
        facts = read_sidecar(path)
        known = record.replace(
            id=content_id(digest, record.source),
            source_sha256=digest,
            probe=found,
            licence=str(facts.pop("licence", "")),
            extra={"title": str(facts.get("title", ""))},
        )
        return [known]

    def _check(self, name: str, found: Probe) -> None:
        config = self.config
        if found.num_frames > config.max_frames:
            raise LimitError(
                f"{name} has {found.num_frames} frames, over {config.max_frames}; split it"
            )
        decoded = 3 * found.num_frames * found.height * found.width
        if decoded > max(config.free_bytes, config.max_expansion * found.num_bytes):
            raise LimitError(
                f"{name} has {found.num_bytes} bytes and decodes to {decoded}, over"
                f" {config.max_expansion:g} times as much; leave it out or raise max_expansion"
            )


def probe(path: Path, config: IngestConfig) -> Probe:
    """What a file holds, by its first picture and the time stamps of all its packets.

    Raises UsageError for a file that is no video, is cut, or says nothing of time.
    """
    with media.opened(path) as (container, name):
        stream = container.streams.video[0]
        stated = stream.frames
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        _check_picture(name, stream.width, stream.height, config)
        picture = next(iter(container.decode(stream)), None)
        if picture is None:
            raise UsageError(f"{name} holds no picture that can be decoded; re-encode it")
        _check_picture(name, picture.width, picture.height, config)
        is_turned = round(picture.rotation / 90) % 2 == 1
        aspect = float(stream.sample_aspect_ratio or 1)
        size = picture.height, max(1, round(picture.width * aspect))
        size = size[::-1] if is_turned else size
        form, codec = container.format.name, stream.codec_context.name
        is_still = form.endswith("_pipe")
    count, times = _packet_times(path)
    if count < stated - max(2, stated // 20):
        raise UsageError(
            f"{name} is truncated: {count} of {stated} frames; copy it again or trim it"
        )
    fps, is_variable = _rate(name, count, times, rate)
    return Probe(
        format=form.split(",")[0],
        codec=codec,
        num_frames=count,
        height=size[0],
        width=size[1],
        fps=0.0 if is_still or count == 1 else fps,
        is_variable=is_variable,
        num_bytes=path.stat().st_size,
    )


def read_sidecar(path: Path) -> dict[str, Any]:
    """The JSON object beside a video (NAME.json): title, licence, captions; {} if there is none.

    Raises UsageError if it can't be read.
    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return {}
    values = json_object(sidecar.name, read_text(sidecar))
    return values


def read_text(path: Path) -> str:
    """UTF-8 text. Raises UsageError for another encoding."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error


def json_object(name: str, text: str) -> dict[str, Any]:
    """One JSON object. Raises UsageError for anything else."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name} is not JSON ({error}); correct it") from error
    if not isinstance(values, dict):
        raise UsageError(f'{name} must hold a JSON object, such as {{"caption": "a hill"}}')
    return values


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_picture(name: str, width: int, height: int, config: IngestConfig) -> None:
    if width * height > config.max_frame_pixels:
        raise LimitError(
            f"{name} is {width}x{height}, over {config.max_frame_pixels} pixels a frame;"
            " make it smaller"
        )


def _packet_times(path: Path) -> tuple[int, list[float]]:
    """The number of packets with content, and the time stamps in order of those that have one."""
    with media.opened(path) as (container, _):
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = [float(p.pts * p.time_base) for p in packets if p.pts is not None]
    return len(packets), sorted(times)


def _rate(name: str, count: int, times: list[float], stated: float) -> tuple[float, bool]:
    """Mean frames a second, and whether the gaps between frames differ."""
    if len(times) == count > 1 and times[-1] > times[0]:
        gaps = np.diff(times)
        is_variable = bool(np.ptp(gaps) > 0.5 * np.median(gaps))
        measured = (count - 1) / (times[-1] - times[0])
        # Some containers round time stamps; the stated rate is then the better figure.
        return stated if abs(measured - stated) < 0.005 * stated else measured, is_variable
    if count > 1 and not stated:
        raise UsageError(f"{name} has neither time stamps nor a frame rate; re-encode it as mp4")
    return stated, False
