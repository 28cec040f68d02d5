"""Finishing a video that is there: its colour, its steadiness, its size, and what it is written as.

No model of the transformer's takes part. As in `facade`, each tool writes the file and beside it a
contact sheet (.png: before and after) and a record (.json), and returns a plain dict. A video of
any length takes constant memory.
"""

import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sora_jax import media, sheets
from sora_jax.errors import LimitError, UsageError
from sora_jax.export.upscaler import open_upscaler
from sora_jax.generate import upscale as upscaling
from sora_jax.post import audio, chain, profiles, writing
from sora_jax.post.profiles import Profile, Size
from sora_jax.post.shots import Frame
from sora_jax.studio.record import file_digest, tool

SHEET_FRAMES, SHEET_SIDE = 6, 160
MAX_SIDE = 2160  # of the shorter side

type Progress = Callable[[int, int], None]  # frames done, of how many (0: not known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivery:
    """How a finished video is written. Raises UsageError for what does not exist."""

    profile: str = "plain"  # a name in post.profiles.PROFILES
    fit: str = "pad"  # pad | crop: to the size of a profile that has one
    audio: str = "keep"  # keep | drop

    def __post_init__(self):
        profiles.find_profile(self.profile)
        audio.check_choice(self.audio)
        if self.fit not in profiles.FITS:
            raise UsageError(f"fit {self.fit!r} is not known; use {' or '.join(profiles.FITS)}")

    @property
    def form(self) -> Profile:
        return profiles.find_profile(self.profile)


@tool
def post(
    source: str | Path,
    out: str | Path,
    *,
    preset: str | None = None,
    progress: Progress | None = None,
    **steps: Any,
) -> dict[str, Any]:
    """Do the steps of a `preset` and `steps`, fields of `post.chain.Steps`, and write the video.

    `steps` may also have the fields of `Delivery`; without any step the video is only written.
    """
    delivery, wishes = _split(steps)
    wanted = chain.make_steps(preset, **wishes)
    inputs = [source] if wanted.lut is None else [source, wanted.lut]
    footage = Footage(source)
    frames = chain.finish(footage, wanted)
    output = _Output(out, footage, delivery, footage.size, progress)
    return output.write(frames, inputs, steps=wanted.names, preset=preset)


@tool
def upscale(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    to: str = "1080p",
    progress: Progress | None = None,
    **delivery: Any,
) -> dict[str, Any]:
    """Enlarge a video with a trained upscaler: `to` is its shorter side, as in 1080p.

    `delivery` has fields of `Delivery`. `model` is a run directory or bundle of an upscaler.
    """
    form, unknown = _split(delivery)
    if unknown:
        raise UsageError(f"upscale has no option {next(iter(unknown))!r}")
    side = parse_side(to)
    bundle = open_upscaler(model)
    footage = Footage(source)
    size = target_size(footage.size, side)
    frames = upscaling.upscale(bundle, footage, size)
    output = _Output(out, footage, form, size, progress)
    return output.write(frames, [source], to=to, model=str(bundle.path), model_digest=bundle.digest)


def parse_side(text: str) -> int:
    """The pixels of 1080p. Raises UsageError for other words, and past the limit LimitError."""
    found = re.fullmatch(r"(\d+)p", str(text))
    if not found or int(found[1]) < 16 or int(found[1]) % 2:
        raise UsageError(f"size {text!r} is not 720p, 1080p, 2160p or another even number of rows")
    if int(found[1]) > MAX_SIDE:
        raise LimitError(f"{text} is over {MAX_SIDE}p, the largest size; use that")
    return int(found[1])


def target_size(size: Size, side: int) -> Size:
    """Height and width with the shorter one at `side`, the other even and in proportion.

    Raises UsageError for a video that is as large already.
    """
    height, width = size
    if min(size) >= side:
        raise UsageError(
            f"the video is {width}x{height}, not smaller than {side}p; name a larger size"
        )
    factor = side / min(size)
    return (
        side if height <= width else 2 * round(height * factor / 2),
        side if width <= height else 2 * round(width * factor / 2),
    )


class Footage:
    """A video file as it is: frames of one size at a steady rate, one by one."""

    def __init__(self, source: str | Path):
        """Raises UsageError for a file that is no video or has no frame in it."""
        info = media.probe(source)
        first = next(media.stream_frames(source))  # the header may lie on its side
        self.path, self.fps, self.stated = Path(source), info.fps, info.num_frames
        self.size: Size = first.shape[0], first.shape[1]
        self.sound = audio.tracks(source)
        self.shown: list[Frame] = []
        self.picks = set(np.linspace(0, max(self.stated - 1, 0), SHEET_FRAMES).round().astype(int))

    def __iter__(self) -> Iterator[Frame]:
        for i, frame in enumerate(media.stream_frames(self.path, fps=self.fps)):
            if frame.shape[:2] != self.size:
                raise UsageError(
                    f"{self.path} changes its size at frame {i} to {frame.shape[1]}x"
                    f"{frame.shape[0]}; re-encode it"
                )
            if i in self.picks:
                self.shown.append(_small(frame))
            yield frame


class _Output:
    """A file on its way: checked at once, written by `write`."""

    def __init__(
        self,
        out: str | Path,
        footage: Footage,
        delivery: Delivery,
        size: Size,
        progress: Progress | None,
    ):
        self._out = writing.check_name(out, delivery.form)
        self._footage, self._delivery, self._progress = footage, delivery, progress
        self._size = delivery.form.size or size
        self._start = time.monotonic()
        self._notes: list[str] = []
        profiles.check_length(delivery.profile, footage.stated, footage.fps)
        if self._size != size:
            how = "with bars" if delivery.fit == "pad" else "cut in the middle"
            self._notes.append(
                f"{size[1]}x{size[0]} was brought to {self._size[1]}x{self._size[0]}, {how}"
            )
        self._sound = self._find_sound()

    def write(
        self, frames: Iterable[Frame], inputs: list[str | Path], **facts: Any
    ) -> dict[str, Any]:
        footage, form = self._footage, self._delivery.form
        digest, shown, count = hashlib.sha256(), [], 0

        def counted() -> Iterator[Frame]:
            nonlocal count
            fitted = profiles.fit(frames, self._size, self._delivery.fit)
            for count, frame in enumerate(fitted, 1):
                profiles.check_length(self._delivery.profile, count, footage.fps)
                digest.update(np.ascontiguousarray(frame).data)
                if count - 1 in footage.picks:
                    shown.append(_small(frame))
                yield frame
                if self._progress is not None:
                    self._progress(count, footage.stated)

        written = writing.Form(profile=form, size=self._size, fps=footage.fps, sound=self._sound)
        found = writing.write(self._out, counted(), written)
        if written.pixel_format == "yuv444p" and form.kind == "h264":
            self._notes.append("the odd size is kept as yuv444p, which not all players show")
        sheet = self._out.with_suffix(".png")
        if self._out.suffix == "":
            sheet = self._out.with_name(f"{self._out.name}.sheet.png")
        rows = [np.stack(footage.shown), np.stack(shown)]
        media.write_png(sheet, sheets.contact_sheet(rows, ["before", "after"]))
        return {
            "output": str(self._out),
            "contact_sheet": str(sheet),
            "frames": count,
            "seconds": count / footage.fps,
            "fps": footage.fps,
            "size": [self._size[1], self._size[0]],
            "profile": self._delivery.profile,
            "probe": found,
            "work_seconds": round(time.monotonic() - self._start, 3),
            "notes": self._notes,
            **{name: value for name, value in facts.items() if value is not None},
            "details": {
                "inputs": {str(Path(p).resolve()): file_digest(p) for p in inputs},
                "frames_sha256": digest.hexdigest(),
            },
        }

    def _find_sound(self) -> Path | None:
        """Whose sound goes in, if any; a note says what is left out."""
        footage, tracks = self._footage, len(self._footage.sound)
        if not tracks:
            return None
        many = f"{tracks} sound tracks" if tracks > 1 else "the sound track"
        if self._delivery.audio == "drop":
            self._notes.append(f"{many} of {footage.path.name} left out, as asked")
            return None
        if not self._delivery.form.has_sound:
            kind = self._delivery.profile
            self._notes.append(f"{many} of {footage.path.name} left out: {kind} has no sound")
            return None
        return footage.path


def _split(wishes: dict[str, Any]) -> tuple[Delivery, dict[str, Any]]:
    names = [field.name for field in dataclasses.fields(Delivery)]
    own = {k: v for k, v in wishes.items() if k in names and v is not None}
    return Delivery(**own), {k: v for k, v in wishes.items() if k not in names}


def _small(frame: Frame) -> Frame:
    """A frame for the contact sheet, no higher than its rows."""
    height, width = frame.shape[:2]
    if height <= SHEET_SIDE:
        return frame
    size = max(1, round(width * SHEET_SIDE / height)), SHEET_SIDE
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
