"""Frames to an mp4, one by one as they come."""

import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sora_jax.errors import UsageError

_SMPTE170M = 6  # BT.601 in the numbering of ITU-T H.273


def encode_frames(
    target: io.BytesIO | io.BufferedRandom,
    frames: Iterable[NDArray[np.uint8]],
    size: tuple[int, ...],
    fps: float,
    *,
    crf: int,
    pixel_format: str = "yuv420p",
) -> None:
    """Write frames H W 3 of `size` (height, width) to a file as an mp4 (h264).

    Players show "yuv420p"; "yuv444p" keeps the full colour resolution.
    """
    height, width = size
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise UsageError(f"size {width}x{height} is odd; mp4 (yuv420p) needs even width and height")
    reformatter = VideoReformatter()
    with av.open(target, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(crf), "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        codec = stream.codec_context
        codec.thread_count = 1 if height * width <= 256 * 256 else 4  # the bytes depend on it
        codec.colorspace = codec.color_primaries = codec.color_trc = _SMPTE170M
        codec.color_range = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = reformatter.reformat(picture, format=pixel_format)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
