"""Finished frames to a file of a profile, and a look at what is in the file afterwards."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from sora_jax import files, mp4
from sora_jax.errors import LimitError, RunError, UsageError
from sora_jax.post import audio
from sora_jax.post.profiles import Profile, Size
from sora_jax.post.shots import Frame

_MAX_PIXELS = 2**28  # of a GIF or WebP, all frames: they are in memory while it is written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """What is written: the profile, the size (height, width) and rate, and whose sound goes in."""

    profile: Profile
    size: Size
    fps: float
    sound: str | Path | None = None

    @property
    def pixel_format(self) -> str:
        if self.profile.kind == "prores":
            return "yuv422p10le"
        is_odd = self.size[0] % 2 or self.size[1] % 2
        return "yuv444p" if is_odd else "yuv420p"


def check_name(out: str | Path, profile: Profile) -> Path:
    """`out` as a path that fits the profile. Raises UsageError."""
    path = Path(out)
    if path.suffix.lower() != profile.suffix:
        right = path.with_suffix(profile.suffix)
        raise UsageError(f"cannot write {path} as {profile.about}; name it {right}")
    if profile.kind != "png":
        return files.check_folder(path)
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: folder {path.parent} does not exist; create it")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"cannot write {path}: it is there and not an empty folder; name another")
    return path


def write(out: Path, frames: Iterable[Frame], form: Form) -> dict[str, Any]:
    """Write all frames, whole or not at all, and give what a probe then finds in the file.

    Raises RunError where that is not what was wanted, and LimitError for a GIF or WebP that is too
    large to be held.
    """
    kind, count = form.profile.kind, _Count(frames)
    if kind == "png":
        _write_folder(out, count)
    elif kind in ("gif", "webp"):
        _write_animation(out, count, form)
    else:
        _write_video(out, count, form)
    found = probe(out)
    _compare(out, found, form, count.done)
    return found


def probe(path: str | Path) -> dict[str, Any]:
    """What is in a written file: codec, size, rate, frames, pixel format, sound."""
    path = Path(path)
    if path.is_dir():
        names = sorted(path.glob("*.png"))
        with Image.open(names[0]) as first:
            return {"codec": "png", "size": list(first.size), "frames": len(names)}
    if path.suffix.lower() in (".gif", ".webp"):
        return _probe_animation(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        aspect = stream.sample_aspect_ratio
        return {
            "codec": stream.codec_context.name,
            "pixel_format": stream.pix_fmt,
            "size": [stream.width, stream.height],
            "fps": float(stream.average_rate),
            "frames": stream.frames,
            "seconds": float(stream.duration * stream.time_base),
            "square_pixels": aspect in (None, 0, 1),
            "index_first": _has_index_first(path),
            "sound": [s.codec_context.name for s in container.streams.audio],
        }


class _Count:
    """Frames that are counted as they pass."""

    def __init__(self, frames: Iterable[Frame]):
        self._frames, self.done = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.done += 1
            yield frame


def _write_video(out: Path, frames: Iterable[Frame], form: Form) -> None:
    is_prores = form.profile.kind == "prores"
    with files.replacing(out) as target, contextlib.ExitStack() as stack:
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        stack.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(handle, "w+b") as silent:
            mp4.encode_frames(
                silent,
                frames,
                form.size,
                form.fps,
                crf=form.profile.crf,
                pixel_format=form.pixel_format,
                codec=mp4.PRORES if is_prores else mp4.H264,
            )
        audio.join(Path(name), form.sound, target, form="mov" if is_prores else "mp4")


def _write_folder(out: Path, frames: Iterable[Frame]) -> None:
    with files.disk_errors(out):
        new = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            new.chmod(0o755)
            for number, frame in enumerate(frames, 1):
                Image.fromarray(frame).save(new / f"{number:05d}.png")
            if out.exists():
                out.rmdir()
            os.rename(new, out)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def _write_animation(out: Path, frames: Iterable[Frame], form: Form) -> None:
    """By Pillow. Times are rounded each for itself, so that they do not add up to an error."""
    unit = 10 if form.profile.kind == "gif" else 1  # milliseconds that a time is a multiple of
    if 1000 / form.fps < 2 * unit:
        raise UsageError(
            f"{form.fps:g} frames a second are more than a {form.profile.kind} shows, "
            f"{500 / unit:g}; use another profile"
        )
    pictures: list[Image.Image] = []
    room = _MAX_PIXELS // (form.size[0] * form.size[1])
    for frame in frames:
        if len(pictures) == room:
            raise LimitError(
                f"a {form.profile.kind} of {form.size[1]}x{form.size[0]} may have {room} frames; "
                "trim the video or make it smaller"
            )
        picture = Image.fromarray(frame)
        pictures.append(picture.quantize(256) if form.profile.kind == "gif" else picture)
    ends = np.round(np.arange(len(pictures) + 1) * 1000 / form.fps / unit).astype(int) * unit
    with files.replacing(out) as target:
        pictures[0].save(
            target,
            format=form.profile.kind,
            save_all=True,
            append_images=pictures[1:],
            duration=np.diff(ends).tolist(),
            loop=0,
            **({"quality": 90} if form.profile.kind == "webp" else {}),
        )


def _probe_animation(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        length = 0
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            length += image.info.get("duration", 0)
        return {
            "codec": str(image.format).lower(),
            "size": list(image.size),
            "frames": getattr(image, "n_frames", 1),
            "seconds": length / 1000,
            "loops": image.info.get("loop") == 0,
        }


def _compare(out: Path, found: dict[str, Any], form: Form, count: int) -> None:
    """Raise RunError unless a probe's findings are what was asked for."""
    kind = form.profile.kind
    wanted: dict[str, Any] = {"size": [form.size[1], form.size[0]], "codec": kind}
    if kind == "png":
        wanted |= {"frames": count}
    elif kind in ("gif", "webp"):  # frames that are alike may be one, shown for longer
        wanted |= {"loops": True} if count > 1 else {}
    else:
        wanted |= {"frames": count, "pixel_format": form.pixel_format}
        wanted |= {"square_pixels": True, "index_first": True}
        wanted |= {"fps": float(Fraction(form.fps).limit_denominator(1001))}
    wrong = [f"{k} {found.get(k)} for {v}" for k, v in wanted.items() if found.get(k) != v]
    seconds = count / form.fps
    if "seconds" in found and count > 1 and abs(found["seconds"] - seconds) > 0.5 / form.fps:
        wrong.append(f"{found['seconds']:g} s for {seconds:g}")
    if form.sound is not None and not found.get("sound"):
        wrong.append("no sound")
    if wrong:
        raise RunError(f"{out} is not as it should be: {', '.join(wrong)}; report this")


def _has_index_first(path: Path) -> bool:
    """Whether the index (moov) of an mp4 or mov comes before its pictures (mdat)."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, name = int.from_bytes(head[:4], "big"), head[4:]
            if name in (b"moov", b"mdat"):
                return name == b"moov"
            if size == 1:
                size = int.from_bytes(file.read(8), "big") - 8
            file.seek(size - 8, os.SEEK_CUR)
    return False
