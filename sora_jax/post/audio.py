"""Sound: what tracks a file has, and how they go into another one beside its new pictures."""

import dataclasses
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from sora_jax import media
from sora_jax.errors import UsageError

CHOICES = ("keep", "drop")
# What each container takes as it is; other tracks are written anew in the last column's codec.
_TAKES = {
    "mp4": (("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"), "aac"),
    "mov": (("aac", "ac3", "alac", "mp3", "pcm_s16le", "pcm_s24le"), "pcm_s16le"),
}


def check_choice(choice: str) -> None:
    """Raise UsageError for what is not in CHOICES."""
    if choice not in CHOICES:
        raise UsageError(f"audio {choice!r} is not known; use {' or '.join(CHOICES)}")


def tracks(source: str | Path) -> list[str]:
    """The codec of each sound track of a video file."""
    with media.opened(source) as (container, _):
        return [stream.codec_context.name for stream in container.streams.audio]


def join(video: Path, source: str | Path | None, target: Path, *, form: str) -> list[str]:
    """Copy the pictures of `video` and all sound of `source` (None: no sound) into `target`.

    `form` is the container, mp4 or mov. Sound keeps its time to the pictures and ends with them.
    The index comes first in the file, so that it plays while it loads. Gives the codecs written.
    """
    with (
        av.open(str(video)) as pictures,
        av.open(str(target), "w", format=form, options={"movflags": "faststart"}) as out,
    ):
        stream = pictures.streams.video[0]
        copied = out.add_stream_from_template(stream)
        if source is None:
            _mux(out, _pictures(pictures, stream, copied))
            return []
        with media.opened(source) as (sounds, _):
            start = sounds.streams.video[0].start_time or 0
            begin = float(start * sounds.streams.video[0].time_base)
            length = float(stream.duration * stream.time_base)
            ways = {s.index: _Track.open(out, s, form) for s in sounds.streams.audio}
            heard = _sounds(sounds, ways, begin, length)
            _mux(out, heapq.merge(_pictures(pictures, stream, copied), heard, key=lambda x: x[0]))
            return [track.codec for track in ways.values()]


@dataclasses.dataclass
class _Track:
    """One track on its way: copied where the container takes it, else decoded and written anew."""

    out: Any
    codec: str
    resampler: Any = None

    @classmethod
    def open(cls, out: Any, stream: Any, form: str) -> "_Track":
        taken, other = _TAKES[form]
        name = stream.codec_context.name
        if name in taken:
            return cls(out.add_stream_from_template(stream), name)
        made = out.add_stream(other, rate=stream.codec_context.sample_rate)
        made.codec_context.layout = stream.codec_context.layout
        kind = "fltp" if other == "aac" else "s16"
        resampler = av.AudioResampler(
            format=kind,
            layout=stream.codec_context.layout,
            rate=stream.codec_context.sample_rate,
            frame_size=1024,
        )
        return cls(made, other, resampler)

    def take(self, packet: Any, begin: float) -> Iterator[Any]:
        """What is written for a packet; one without data ends the track."""
        if self.resampler is None:
            if packet.dts is not None:
                shift = round(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self.out
                yield packet
            return
        for frame in packet.decode():
            frame.pts -= round(begin / frame.time_base)
            for piece in self.resampler.resample(frame):
                yield from self.out.encode(piece)
        if packet.dts is None:
            for piece in self.resampler.resample(None):
                yield from self.out.encode(piece)
            yield from self.out.encode(None)


def _pictures(container: Any, stream: Any, copied: Any) -> Iterator[tuple[float, Any]]:
    for packet in container.demux(stream):
        if packet.dts is not None:
            time = float(packet.dts * packet.time_base)
            packet.stream = copied
            yield time, packet


def _sounds(container, ways, begin: float, length: float) -> Iterator[tuple[float, Any]]:
    """Packets within the pictures' time, each with its time."""
    time = 0.0
    for packet in container.demux(*container.streams.audio):
        if packet.pts is not None:
            time = float(packet.pts * packet.time_base) - begin
            if not -0.1 < time < length:  # a codec's first packet may begin a little before 0
                continue
        for written in ways[packet.stream.index].take(packet, begin):
            yield time, written


def _mux(out: Any, packets: Iterator[tuple[float, Any]]) -> None:
    for _, packet in packets:
        out.mux(packet)
