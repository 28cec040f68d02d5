"""Video and image files to and from uint8 arrays (T H W 3 and H W 3, RGB, 0..255).

Files come from strangers: a path is never taken for a URL, playlists can't name other files, and
size limits hold while decoding, whatever the header says. Colours are BT.601, limited range, and
tagged as such, so that reading gives back what was written.
"""

import contextlib
import dataclasses
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from sora_jax import files, mp4
from sora_jax.errors import LimitError, UsageError

Frame = NDArray[np.uint8]  # H W 3
Frames = NDArray[np.uint8]  # T H W 3

MAX_BYTES = 2**36  # of one file; it is read piece by piece
MAX_PIXELS = 2**28  # decoded, frames x height x width: 0.8 GB of RGB
MAX_FRAMES = 4096
_NOT_VIDEO = {
    b"#extm3u": "a playlist",
    b"ffconcat": "a playlist",
    b"[playlist]": "a playlist",
    b"<?xml": "an XML text",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"http://": "an address",
    b"https://": "an address",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What the header of a video file says; `num_frames` is 0 where it does not say."""

    num_frames: int
    height: int
    width: int
    fps: float


def probe(source: str | Path | bytes) -> VideoInfo:
    """The header of a video, without decoding a frame."""
    with opened(source) as (container, name):
        return _info(container, name)


def read_video(
    source: str | Path | bytes,
    *,
    fps: float | None = None,
    max_frames: int = MAX_FRAMES,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Frames, float]:
    """All frames of a video and its frame rate, or the nearest frames at the rate `fps`.

    Raises UsageError for a file that is missing, truncated or no video, and LimitError for one
    with more than `max_frames` frames or `max_pixels` pixels in all.
    """
    native = probe(source).fps
    stream: Iterator[Frame] = stream_frames(source, fps=fps)
    frames: list[Frame] = []
    pixels = 0
    for frame in stream:
        pixels += frame.shape[0] * frame.shape[1]
        if len(frames) == max_frames:
            raise LimitError(f"{_name(source)} has more than {max_frames} frames; trim it")
        if pixels > max_pixels:
            raise LimitError(
                f"{_name(source)} has more than {max_pixels} pixels over its frames;"
                " trim it or make it smaller"
            )
        frames.append(frame)
    return np.stack(frames), fps or native


def stream_frames(
    source: str | Path | bytes,
    *,
    fps: float | None = None,
    span: tuple[float, float] | None = None,
    max_frame_pixels: int = 2**25,
) -> Iterator[Frame]:
    """The frames of a video one by one, upright, in constant memory.

    With `span`, only those in the seconds [start, end). With `fps`, the frame shown nearest to
    each of the times 0, 1/fps, 2/fps ... from the start. Raises as `read_video` does; a truncated
    file is only found out at its end.
    """
    frames = timed_frames(source, span=span, max_frame_pixels=max_frame_pixels)
    if fps is not None:
        frames = at_rate(frames, fps)
    for _, frame in frames:
        yield frame


def write_video(
    path: str | Path, frames: Frames, fps: float, *, crf: int = 18, upscale: int = 1
) -> None:
    """Write an mp4 (h264, yuv420p) that every player shows; the file appears whole or not at all.

    `upscale` repeats pixels: yuv420p halves the colour resolution, so 32x32 clips need 4 or more.
    """
    path = files.check_folder(path)
    content = encode_mp4(frames, fps, crf=crf, pixel_format="yuv420p", upscale=upscale)
    files.write_bytes(path, content)


def encode_mp4(
    frames: Frames,
    fps: float,
    *,
    crf: int = 10,
    pixel_format: str = "yuv444p",
    upscale: int = 1,
) -> bytes:
    """An mp4 (h264) in memory. The defaults are for training shards: full colour resolution.

    `pixel_format` "yuv420p" is what players show; "yuv444p" keeps sharp colours.
    """
    frames = check_frames(frames)
    if upscale != 1:
        frames = frames.repeat(upscale, axis=1).repeat(upscale, axis=2)
    target = io.BytesIO()
    mp4.encode_frames(target, frames, frames.shape[1:3], fps, crf=crf, pixel_format=pixel_format)
    return target.getvalue()


def decode_mp4(content: bytes) -> Frames:
    """The frames of an mp4 in memory, with the limits and errors of `read_video`."""
    return read_video(content)[0]


def pick_frames(
    content: bytes, wanted: Sequence[int], size: tuple[int, int] | None = None
) -> Frames:
    """Frames of an mp4 in memory by their numbers, which do not fall; only these are converted.

    `size` (height, width) scales them, averaging. Raises as `read_video` does, also for a number
    that the video does not have.
    """
    with opened(content) as (container, name):
        info = _info(container, name)
        height, width = size or (info.height, info.width)
        if max(len(wanted) * height * width, info.height * info.width) > MAX_PIXELS:
            raise LimitError(f"{name} has more than {MAX_PIXELS} pixels; take fewer frames")
        frames = np.empty((len(wanted), height, width, 3), np.uint8)
        reformatter = VideoReformatter()
        place = count = 0
        for count, picture in enumerate(container.decode(video=0), 1):
            if (picture.height, picture.width) != (info.height, info.width):
                raise LimitError(f"{name} grows to {picture.width}x{picture.height}; re-encode it")
            if wanted[place] != count - 1:
                continue
            # Told how to scale, swscale leaves its fast path even where there is nothing to scale.
            is_scaled = (height, width) != (info.height, info.width)
            rgb = reformatter.reformat(
                picture,
                width,
                height,
                format="rgb24",
                interpolation="AREA" if is_scaled else None,
                threads=1,  # small pictures lose more by waiting for each other's slices
            )
            frame = rgb.to_ndarray()
            while place < len(wanted) and wanted[place] == count - 1:
                frames[place] = frame
                place += 1
            if place == len(wanted):
                return frames
    raise UsageError(
        f"{name} has {count} frames and frame {wanted[place]} is wanted; copy it again"
    )


def read_image(path: str | Path, *, max_pixels: int = 2**25) -> Frame:
    """An image file, upright; transparency is laid on white."""
    path = _local(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise LimitError(
                    f"{path} is {image.width}x{image.height}, over {max_pixels} pixels;"
                    " make it smaller"
                )
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} is not an image that can be read; use PNG or JPEG") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, LimitError):
            raise
        raise UsageError(f"{path} is a broken image ({error}); save it again") from error
    background = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(background, upright).convert("RGB"))


def write_png(path: str | Path, image: Frame) -> None:
    """Write a PNG, whole or not at all."""
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image, np.uint8)).save(target, format="png")
    files.write_bytes(path, target.getvalue())


def check_frames(frames: Frames) -> Frames:
    """The frames, after checking that they are uint8 T H W 3 and not empty."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise UsageError(
            f"frames are {frames.dtype}{list(frames.shape)}; they must be uint8 [T, H, W, 3]"
        )
    return frames


def _name(source: str | Path | bytes) -> str:
    return f"video of {len(source)} bytes" if isinstance(source, bytes) else str(source)


def _local(path: str | Path) -> Path:
    if "://" in str(path):
        raise UsageError(f"{path} is a URL; download it first and name the file")
    if not Path(path).is_file():
        raise UsageError(f"no file {path}; check the name")
    return Path(path)


@contextlib.contextmanager
def opened(source: str | Path | bytes) -> Iterator[tuple[Any, str]]:
    """An open container with one decoding thread, and the name to use in messages.

    Raises UsageError for what is no video or is a list of other files, which are never opened.
    """
    name = _name(source)
    with contextlib.ExitStack() as stack:
        if isinstance(source, bytes):
            file: Any = io.BytesIO(source)
            size = len(source)
        else:
            path = _local(source)
            size = path.stat().st_size
            file = stack.enter_context(path.open("rb"))
        head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        file.seek(0)
        for start, kind in _NOT_VIDEO.items():
            if head.startswith(start):
                raise UsageError(f"{name} is {kind} and no video; get the video file itself")
        if size > MAX_BYTES:
            raise LimitError(f"{name} has {size} bytes, over {MAX_BYTES}; trim it")
        try:
            # With no protocol allowed a playlist can't make the demuxer open anything else.
            container = stack.enter_context(av.open(file, options={"protocol_whitelist": "none"}))
            if not container.streams.video:
                raise UsageError(f"{name} has no video stream; use an mp4, webm or mkv file")
            container.streams.video[0].codec_context.thread_count = 1
            yield container, name
        except (av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or "ends early"
            raise UsageError(
                f"{name} is truncated or not a video ({reason}); copy it again or re-encode it"
            ) from error


def _info(container: Any, name: str) -> VideoInfo:
    stream = container.streams.video[0]
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not stream.width or not stream.height:
        raise UsageError(f"{name} does not say its size and frame rate; re-encode it as mp4")
    return VideoInfo(
        num_frames=stream.frames, height=stream.height, width=stream.width, fps=float(rate)
    )


def timed_frames(
    source: str | Path | bytes,
    *,
    span: tuple[float, float] | None = None,
    max_side: int | None = None,
    max_frame_pixels: int = 2**25,
) -> Iterator[tuple[float, Frame]]:
    """Pairs of (seconds since the start of `span` or of the video, frame), as `stream_frames`.

    `max_side` makes larger pictures smaller while their colours are converted, which is cheap.
    """
    with opened(source) as (container, name):
        stream = container.streams.video[0]
        rate, stated = float(stream.average_rate or stream.guessed_rate or 0), stream.frames
        _check_size(name, stream.width, stream.height, max_frame_pixels)
        reformatter = VideoReformatter()
        start, end = span or (0.0, math.inf)
        origin = _seek(container, start)
        count = 0
        for picture in container.decode(video=0):
            _check_size(name, picture.width, picture.height, max_frame_pixels)
            if picture.time is None and not rate:
                raise UsageError(
                    f"{name} has neither time stamps nor a frame rate; re-encode it as mp4"
                )
            moment = picture.time if picture.time is not None else count / rate
            origin = moment if origin is None else origin
            time = moment - origin
            if time >= end - 1e-6:
                break
            if time < start - 1e-6:
                continue
            count += 1
            yield time - start, _upright(picture, reformatter, max_side)
    if not count and span:
        raise UsageError(f"{name} has no frame between {start} and {end} s; it is shorter")
    # An edit list may hide a few frames that the header counts; more missing means a cut file.
    if not count or (not span and count < stated - max(2, stated // 20)):
        raise UsageError(
            f"{name} is truncated: {count} of {stated} frames; copy it again or trim it"
        )


def _check_size(name: str, width: int, height: int, max_frame_pixels: int) -> None:
    if width * height > max_frame_pixels:
        raise LimitError(
            f"{name} is {width}x{height}, over {max_frame_pixels} pixels a frame; make it smaller"
        )


def _upright(picture: Any, reformatter: VideoReformatter, max_side: int | None) -> Frame:
    width, height = picture.width, picture.height
    scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = {"width": size[0], "height": size[1], "interpolation": "AREA"} if scale < 1 else {}
    rgb = reformatter.reformat(picture, format="rgb24", **smaller)
    frame = np.asarray(rgb.to_ndarray(), np.uint8)
    # The display matrix says by how much to turn the picture counter-clockwise.
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame


def _seek(container: Any, start: float) -> float | None:
    """Go to the key frame before `start`; the time stamp of second 0, or None for the first.

    Some indexes lead to a frame that is no key frame; decoding then begins further back.
    """
    if start <= 0:
        return None
    stream = container.streams.video[0]
    origin = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    if container.format.name == "webp_anim":  # it can't seek, and says nothing of it
        return origin
    for earlier in (0.0, 10.0, start):
        place = int((origin + max(0.0, start - earlier)) / stream.time_base)
        container.seek(place, stream=stream)
        packet = next(iter(container.demux(stream)), None)
        if packet is not None and packet.is_keyframe:
            break
    container.seek(place, stream=stream)
    return origin


def at_rate(frames: Iterator[tuple[float, Frame]], fps: float) -> Iterator[tuple[float, Frame]]:
    """The nearest frame for each time 0, 1/fps, 2/fps ... up to the end of the last frame."""
    wanted = 0
    shown: tuple[float, Frame] | None = None
    gap = 0.0
    for time, frame in frames:
        if shown is not None:
            gap = time - shown[0]
            while wanted / fps < (shown[0] + time) / 2:
                yield wanted / fps, shown[1]
                wanted += 1
        shown = time, frame
    if shown is not None:
        while wanted == 0 or wanted / fps < shown[0] + gap - 1e-6:
            yield wanted / fps, shown[1]
            wanted += 1
