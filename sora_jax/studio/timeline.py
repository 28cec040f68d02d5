"""Edit lists for other programs, by OpenTimelineIO: which part of which file is shown when.

The extra `timeline` brings the package and its adapters. What was written is read again and must
say the same.
"""

import dataclasses
import importlib
import itertools
import urllib.parse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

from sora_jax import files
from sora_jax.errors import RunError, UsageError

# Suffix -> OpenTimelineIO's adapter, the module that holds it, and what it is told when writing.
_ADAPTERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    ".otio": ("otio_json", "opentimelineio", {}),
    ".edl": ("cmx_3600", "otio_cmx3600_adapter", {"style": "nucoda"}),
    ".xml": ("fcp_xml", "otio_fcp_adapter", {}),
    ".fcpxml": ("fcpx_xml", "otio_fcpx_xml_adapter", {}),
}
RATES = (24, 25, 30, 50, 60)  # frames a second that all of these formats have time codes for
INSTALL = "launch/setup.sh requirements-timeline.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """Frames [start, start + count) of a file, at the timeline's rate; a name has no quotes."""

    name: str
    path: Path
    start: int
    count: int
    note: str = ""  # a prompt; only .otio has a place for it


def check(path: str | Path, fps: float) -> Path:
    """`path` as a timeline that can be written. Raises UsageError, before anything takes time."""
    path = files.check_folder(path)
    if path.suffix.lower() not in _ADAPTERS:
        raise UsageError(f"cannot write timeline {path}: name it {' or '.join(_ADAPTERS)}")
    _library(path)
    if path.suffix.lower() != ".otio" and editing_rate(fps) not in RATES:
        raise UsageError(
            f"{path.suffix} has no time code at {fps:g} frames a second, nor at a multiple of it "
            f"within {', '.join(map(str, RATES))}; write an .otio, which has any rate"
        )
    return path


def editing_rate(fps: float) -> float:
    """The least of RATES that is a multiple of `fps`, or `fps` itself where none is."""
    return next((float(rate) for rate in RATES if (rate / fps).is_integer()), float(fps))


def write(path: Path, title: str, segments: Sequence[Segment], fps: float) -> dict[str, Any]:
    """Write segments one after the other; `fps` is the rate that they count in.

    Raises RunError if what is read again is not what was written.
    """
    otio = _library(path)
    rate = editing_rate(fps)
    scaled = [
        dataclasses.replace(
            s,
            path=s.path.resolve(),
            start=round(s.start * rate / fps),
            count=round(s.count * rate / fps),
        )
        for s in segments
    ]
    adapter, _, options = _ADAPTERS[path.suffix.lower()]
    timeline = _build(otio, title, scaled, rate)
    if adapter == "cmx_3600":
        options = options | {"rate": rate}
    text = otio.adapters.write_to_string(timeline, adapter_name=adapter, **options)
    files.write_text(path, text)
    found = read(path, rate)
    wanted = [dataclasses.replace(s, note="") for s in scaled]
    if [dataclasses.replace(s, note="") for s in found] != wanted:
        raise RunError(f"{path} does not read back as it was written: {found} for {wanted}")
    return {"timeline": str(path), "timeline_rate": rate, "segments": len(segments)}


def read(path: str | Path, rate: float) -> list[Segment]:
    """The segments of a timeline file, counted at `rate`."""
    path = Path(path)
    otio = _library(path)
    adapter = _ADAPTERS[path.suffix.lower()][0]
    options = {"rate": rate} if adapter == "cmx_3600" else {}
    timeline = otio.adapters.read_from_file(str(path), adapter_name=adapter, **options)
    segments = []
    for clip in timeline.find_clips():
        span = clip.trimmed_range()
        start, count = (t.rescaled_to(rate).value for t in (span.start_time, span.duration))
        segments.append(
            Segment(
                name=clip.name,
                path=_to_path(clip.media_reference.target_url),
                start=round(start),
                count=round(count),
                note=str(clip.metadata.get("sora_jax", {}).get("note", "")),
            )
        )
    return _exact(path, segments, rate) if adapter == "fcpx_xml" else segments


def _exact(path: Path, segments: list[Segment], rate: float) -> list[Segment]:
    """Segments with the times that stand in an .fcpxml: its adapter cuts some by a frame."""
    spine = ElementTree.parse(path).iterfind(".//spine/clip")
    times = [[_seconds(clip.get(name, "0s")) for name in ("start", "duration")] for clip in spine]
    return [
        dataclasses.replace(segment, start=round(start * rate), count=round(length * rate))
        for segment, (start, length) in zip(segments, times, strict=True)
    ]


def _seconds(text: str) -> float:
    """Seconds of a time such as 25/24s."""
    return float(Fraction(text.removesuffix("s")))


def _build(otio: Any, title: str, segments: Sequence[Segment], rate: float) -> Any:
    def span(start: int, count: int):
        time = otio.opentime.RationalTime
        return otio.opentime.TimeRange(time(start, rate), time(count, rate))

    ends = {
        path: max(s.start + s.count for s in group)
        for path, group in itertools.groupby(sorted(segments, key=_path_of), key=_path_of)
    }
    timeline = otio.schema.Timeline(title)
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for s in segments:
        media = otio.schema.ExternalReference(
            target_url=s.path.as_uri(), available_range=span(0, ends[s.path])
        )
        clip = otio.schema.Clip(s.name, media_reference=media, source_range=span(s.start, s.count))
        if s.note:
            clip.metadata["sora_jax"] = {"note": s.note}
        track.append(clip)
    return timeline


def _path_of(segment: Segment) -> Path:
    return segment.path


def _to_path(url: str) -> Path:
    return Path(urllib.parse.unquote(urllib.parse.urlparse(url).path))


def _library(path: Path) -> ModuleType:
    """OpenTimelineIO, once it and the adapter for `path` are known to be there."""
    _, module, _ = _ADAPTERS[path.suffix.lower()]
    try:
        importlib.import_module(module)
        return importlib.import_module("opentimelineio")
    except ImportError as error:
        raise UsageError(
            f"a {path.suffix} timeline needs the extra `timeline`, which is not installed "
            f"({error}); run {INSTALL}, or pip install 'sora_jax[timeline]'"
        ) from error
