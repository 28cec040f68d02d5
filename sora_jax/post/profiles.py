"""What a finished video is written as, by the name of what it is for."""

import dataclasses
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from sora_jax.errors import LimitError, UsageError, check_name
from sora_jax.post.shots import Frame

type Size = tuple[int, int]  # height, width

FITS = ("pad", "crop")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """A kind of file. A `size` or `max_seconds` of None is the video's own."""

    about: str
    kind: str  # h264 | prores | gif | webp | png
    suffix: str  # of the file; none for a folder
    size: Size | None = None
    max_seconds: float | None = None
    crf: int = 18

    @property
    def has_sound(self) -> bool:
        return self.kind in ("h264", "prores")


PROFILES: dict[str, Profile] = {
    "plain": Profile(about="mp4 of the video's own size", kind="h264", suffix=".mp4", crf=12),
    "story": Profile(
        about="1080x1920 mp4 of at most 60 s",
        kind="h264",
        suffix=".mp4",
        size=(1920, 1080),
        max_seconds=60,
    ),
    "feed": Profile(about="1080x1080 mp4", kind="h264", suffix=".mp4", size=(1080, 1080)),
    "wide": Profile(about="1920x1080 mp4", kind="h264", suffix=".mp4", size=(1080, 1920)),
    "prores": Profile(about="ProRes 422 HQ in a mov, for editing", kind="prores", suffix=".mov"),
    "gif": Profile(
        about="looping GIF of at most 60 s, 50 frames a second", kind="gif", suffix=".gif",
        max_seconds=60,
    ),
    "webp": Profile(
        about="looping WebP of at most 60 s", kind="webp", suffix=".webp", max_seconds=60
    ),
    "png": Profile(about="a folder of numbered PNG files", kind="png", suffix=""),
}  # fmt: skip


def find_profile(name: str) -> Profile:
    """The profile called `name`. Raises UsageError that lists all."""
    check_name("profile", name, PROFILES)
    return PROFILES[name]


def check_length(name: str, num_frames: int, fps: float) -> None:
    """Raise LimitError for a video that is too long for a profile."""
    limit = find_profile(name).max_seconds
    if limit is not None and num_frames / fps > limit + 1e-6:
        raise LimitError(
            f"the video has {num_frames / fps:.4g} s and profile {name} takes {limit:g}; trim it, "
            "or use --profile wide or plain"
        )


def fit(frames: Iterable[Frame], size: Size, way: str) -> Iterator[Frame]:
    """Frames scaled to `size` with their shape kept: all of them within bars, or the middle.

    Raises UsageError for a way that is not in FITS.
    """
    if way not in FITS:
        raise UsageError(f"fit {way!r} is not known; use {' or '.join(FITS)}")
    for frame in frames:
        yield _fit(frame, size, way)


def _fit(frame: Frame, size: Size, way: str) -> Frame:
    height, width = frame.shape[:2]
    if (height, width) == size:
        return frame
    factors = size[0] / height, size[1] / width
    factor = min(factors) if way == "pad" else max(factors)
    scaled = max(1, round(height * factor)), max(1, round(width * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LANCZOS4
    picture = cv2.resize(frame, scaled[::-1], interpolation=method)
    top, left = (size[0] - scaled[0]) // 2, (size[1] - scaled[1]) // 2
    if way == "crop":
        return np.ascontiguousarray(picture[-top : size[0] - top, -left : size[1] - left])
    out = np.zeros((*size, 3), np.uint8)
    out[top : top + scaled[0], left : left + scaled[1]] = picture
    return out
