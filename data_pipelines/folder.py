"""People's own videos: a folder of NAME.mp4 with NAME.txt becomes training records.

Every file is looked at before anything is written, and all that is wrong is said at once.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax import media
from sora_jax.data.schema import Caption, VideoRecord
from sora_jax.errors import LimitError, UsageError

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".gif")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipFormat:
    """What every clip is brought to; `size` is (height, width)."""

    size: tuple[int, int]
    num_frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Length of one clip."""
        return self.num_frames / self.fps


def folder_records(
    directory: str | Path,
    form: ClipFormat,
    *,
    max_windows: int = 8,
    needs_captions: bool = True,
    progress: Callable[[str], None] | None = None,
) -> list[VideoRecord]:
    """Records of all videos in a folder, each cut into up to `max_windows` clips.

    The windows of a video don't overlap, are spread evenly over it and share its caption. Frames
    are cropped at the centre to the aspect ratio of `form` and averaged down. Raises one
    UsageError that lists every problem: no caption, an empty one, a file that is truncated, no
    video, or too short. Without `needs_captions` a video may lack its text: its name stands for it.
    `progress` is told the name of each file.
    """
    problems: list[str] = []
    records: list[VideoRecord] = []
    for path in _videos(Path(directory)):
        if progress is not None:
            progress(path.name)
        text = path.with_suffix(".txt")
        is_told = needs_captions or text.exists()
        caption = _caption(text, problems) if is_told else path.stem
        frames = _frames(path, form, problems)
        if caption is not None and frames is not None:
            whole = VideoRecord(
                id=path.stem,
                captions=(Caption(caption, 0.0, len(frames) / form.fps),),
                fps=form.fps,
                num_frames=len(frames),
                height=form.size[0],
                width=form.size[1],
                video=b"",
                source=path.stem,
            )
            records += cut_windows(whole, frames, form, max_windows)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UsageError(f"{count} in {directory}: {'; '.join(problems)}")
    return records


def split(records: Iterable[VideoRecord]) -> dict[str, list[VideoRecord]]:
    """Splits "train" and "heldout": the last window of each video that has three or more.

    If no video has that many, one video with two windows gives its last.
    """
    videos: dict[str, list[VideoRecord]] = {}
    for record in records:
        videos.setdefault(record.extra["video"], []).append(record)
    long = [windows for windows in videos.values() if len(windows) >= 3]
    long = long or [windows for windows in videos.values() if len(windows) == 2][:1]
    heldout = [windows[-1] for windows in long]
    names = {record.id for record in heldout}
    train = [record for windows in videos.values() for record in windows if record.id not in names]
    return {"train": train, "heldout": heldout}


def contents(directory: str | Path) -> str:
    """A digest of what a folder holds: the names and sizes of its videos, and their captions.

    Raises UsageError for a folder that is none or has no videos.
    """
    digest = hashlib.sha256()
    for path in _videos(Path(directory)):
        caption = path.with_suffix(".txt")
        digest.update(repr((path.name, path.stat().st_size)).encode())
        digest.update(caption.read_bytes() if caption.exists() else b"")
    return digest.hexdigest()


def fit(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame H W 3 cropped at the centre to the aspect ratio of `size` and brought to it."""
    height, width = frame.shape[:2]
    scale = min(height / size[0], width / size[1])
    crop_height, crop_width = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    crop = frame[top : top + crop_height, left : left + crop_width]
    # Averaging over areas is free of aliasing, but only makes pictures smaller.
    method = cv2.INTER_AREA if scale >= 1 else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(crop), size[::-1], interpolation=method)
    return np.asarray(resized, np.uint8)


def cut_windows(
    record: VideoRecord, frames: NDArray[np.uint8], form: ClipFormat, max_windows: int
) -> list[VideoRecord]:
    """Windows of `frames` T H W 3, which are the video of `record` in the size and rate of `form`.

    They do not overlap and are spread evenly. A caption keeps the part of its span that a window
    has. `extra` says of which video it is, the number of the window, and its start in seconds.
    """
    count = min(max_windows, len(frames) // form.num_frames)
    starts = np.linspace(0, len(frames) - form.num_frames, count).astype(int)
    return [
        dataclasses.replace(
            record,
            id=f"{record.id}@{start}",
            captions=_moved(record.captions, float(start / form.fps), form.seconds),
            fps=form.fps,
            num_frames=form.num_frames,
            height=form.size[0],
            width=form.size[1],
            video=media.encode_mp4(frames[start : start + form.num_frames], form.fps),
            text=None,
            extra=record.extra
            | {"video": record.id, "window": window, "start": float(start / form.fps)},
        )
        for window, start in enumerate(starts)
    ]


def _moved(captions: tuple[Caption, ...], start: float, seconds: float) -> tuple[Caption, ...]:
    """Captions of a window: the global one spans it, timed ones move with it or fall away."""
    found = [Caption(captions[0].text, 0.0, seconds)]
    for caption in captions[1:]:
        begin, end = max(caption.start - start, 0.0), min(caption.end - start, seconds)
        if begin < end:
            found.append(Caption(caption.text, begin, end))
    return tuple(found)


def _videos(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise UsageError(f"no folder {directory}; name one with NAME.mp4 and NAME.txt files")
    paths = sorted(p for p in directory.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"no video in {directory}; put NAME.mp4 and NAME.txt files in it")
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError(f"several videos are named {', '.join(twice)}; rename all but one of each")
    return paths


def _caption(path: Path, problems: list[str]) -> str | None:
    try:
        text = " ".join(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        problems.append(f"{path.name} is missing (one sentence that says what is seen)")
        return None
    except UnicodeDecodeError:
        problems.append(f"{path.name} is not UTF-8 text")
        return None
    if not text:
        problems.append(f"{path.name} is empty (write what is seen)")
        return None
    return text


def _frames(path: Path, form: ClipFormat, problems: list[str]) -> NDArray[np.uint8] | None:
    """All frames of a video at the rate and size wanted."""
    try:
        frames = [fit(frame, form.size) for frame in media.stream_frames(path, fps=form.fps)]
    except (UsageError, LimitError) as error:
        problems.append(str(error).replace(str(path), path.name))
        return None
    if len(frames) < form.num_frames:
        have = len(frames) / form.fps
        problems.append(f"{path.name} lasts {have:.2f} s, clips need {form.seconds:.2f} s")
        return None
    return np.stack(frames)
