"""Frames to an mp4, or to a ProRes mov, one by one as they come."""

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sora_jax.errors import UsageError

H264, PRORES = "libx264", "prores_ks"
_CONTAINERS = {H264: "mp4", PRORES: "mov"}
_SMPTE170M = 6  # BT.601 in the numbering of ITU-T H.273


def encode_frames(
    target: io.BytesIO | io.BufferedRandom,
    frames: Iterable[NDArray[np.uint8]],
    size: tuple[int, ...],
    fps: float,
    *,
    crf: int,
    pixel_format: str = "yuv420p",
    codec: str = H264,
) -> None:
    """Write frames H W 3 of `size` (height, width) to a file as an mp4 (h264) or mov (ProRes HQ).

    Players show "yuv420p"; "yuv444p" keeps the full colour resolution. ProRes has a quality of its
    own and no `crf`; its format is "yuv422p10le".
    """
    height, width = size
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise UsageError(f"size {width}x{height} is odd; mp4 (yuv420p) needs even width and height")
    reformatter = VideoReformatter()
    with av.open(target, "w", format=_CONTAINERS[codec]) as container:
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(crf), "preset": "veryfast"} if codec == H264 else {"profile": "3"}
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        coder = stream.codec_context
        coder.thread_count = 1 if height * width <= 256 * 256 else 4  # the bytes depend on it
        coder.colorspace = coder.color_primaries = coder.color_trc = _SMPTE170M
        coder.color_range = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = reformatter.reformat(picture, format=pixel_format)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
