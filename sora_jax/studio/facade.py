"""What every door calls to make a video: load, check, sample, write, and say what was done.

Each function takes a model's name or path and an output path, writes the mp4, beside it a contact
sheet (.png) and a record (.json), and returns a plain dict for people and programs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import media, sheets
from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import extend as extend_tool
from sora_jax.generate import fit, i2v, t2v
from sora_jax.generate.controls import take
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import count_frames
from sora_jax.generate.word_maps import shade, word_maps
from sora_jax.studio.job import Job
from sora_jax.studio.record import tool


@tool
def generate(
    model: str, prompt: str, out: str | Path, *, attention: bool = False, **wishes: Any
) -> dict[str, Any]:
    """Make a video from a text. `wishes` are those of `Job`, and fields of `Controls`.

    With `attention`, OUT.words.png shows where each word of the prompt acts.
    """
    controls, wishes = take(wishes)
    job = Job(model, prompt, out, wishes, controls)
    engine = job.engine()
    video = t2v.generate(engine, [job.request], job.settings, num_frames=job.num_sampled)
    facts = {"word_maps": _write_word_maps(job, engine, video)} if attention else {}
    return job.finish(video[0], **facts)


def _write_word_maps(job: Job, engine: Engine, video: Video) -> str:
    """A row of frames a word, of the first window: bright and red where it acts, dark elsewhere."""
    shown = video[:, : job.settings.num_frames]
    if shown.shape[1] < job.settings.num_frames:
        raise UsageError(
            f"--attention looks at a window of {job.settings.num_frames} frames and the video has "
            f"{shown.shape[1]}; make it as long as that"
        )
    words, maps = word_maps(engine, job.request, job.settings, engine.encode(shown))
    rows = [shade(shown[0], found / max(maps.max(), 1e-6)) for found in maps]
    path = job.out.with_suffix(".words.png")
    media.write_png(path, sheets.contact_sheet([shown[0], *rows], [job.prompt or "", *words]))
    return str(path)


@tool
def animate(
    model: str,
    image: str | Path | Sequence[str | Path],
    prompt: str,
    out: str | Path,
    *,
    at: Sequence[str | float] | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Make a video in which pictures are seen at their times. `wishes` as for `generate`.

    `at` has for each a time in seconds, "first" or "last"; without it one picture is the first
    frame, and two are the first and the last.
    """
    job = Job(model, prompt, out, wishes)
    images = [image] if isinstance(image, (str, Path)) else list(image)
    chunks = _chunks(at, len(images), job)
    seen = []
    for path in images:
        fitted, note = fit.fit_size(job.read_image(path)[None], job.settings.size)
        job.note(note)
        seen.append(fitted[0])
    video = i2v.animate(
        job.engine(),
        np.stack(seen)[None],
        [job.request],
        job.settings,
        chunks=chunks,
        num_frames=job.num_frames,
    )
    return job.finish(video[0])


def _chunks(at: Sequence[str | float] | None, count: int, job: Job) -> list[int]:
    """The chunk at which each of `count` pictures is held. Raises UsageError."""
    if at is None:
        if count > 2:
            raise UsageError(f"{count} pictures need their times: give --at for each, in order")
        at = ("first", "last")[:count]
    if len(at) != count:
        raise UsageError(f"--at is given {len(at)} times for {count} pictures; give it for each")
    total = (job.num_frames or job.settings.num_frames) // CHUNK_FRAMES
    chunk = CHUNK_FRAMES / job.settings.fps
    named = {"first": 0.0, "last": (total - 1) * chunk}
    places: list[int] = []
    for time in at:
        try:
            seconds = named[str(time)] if str(time) in named else float(time)
            place = round(seconds / chunk)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"--at {time} is not first, last or seconds") from error
        if not 0 <= place < total:
            raise UsageError(
                f"--at {time} is not in the video, whose last picture can be at "
                f"{named['last']:g} s; give --seconds for a longer one"
            )
        if abs(place * chunk - seconds) > 1e-6:
            raise UsageError(
                f"--at {time}: a picture is held for {chunk:g} s and begins at a multiple of that; "
                f"use {place * chunk:g}"
            )
        if place in places:
            raise UsageError(f"two pictures are at {seconds:g} s; move one by {chunk:g} or more")
        places.append(place)
    return places


@tool
def extend(
    model: str,
    source: str | Path,
    prompt: str | None,
    out: str | Path,
    *,
    direction: str,
    seconds: float,
    **wishes: Any,
) -> dict[str, Any]:
    """Make `source` longer by `seconds` in `direction` (forward, backward; both: at each end).

    The video is brought to the model's size and rate; the result's "notes" say how.
    """
    job = Job(model, prompt, out, wishes)
    num_new = count_frames(seconds, job.settings.fps)
    frames = job.read(source, keep_end=direction == "forward")
    video = extend_tool.extend(
        job.engine(),
        frames[None],
        [job.request],
        job.settings,
        num_new=num_new,
        direction=direction,
    )
    return job.finish(video[0], kept_frames=len(frames), direction=direction)
