"""Tools that make a video out of videos, and storyboards: as in `facade`, for files.

Each takes a model's name or path and an output path, writes the mp4 and beside it a contact sheet
and a record, and returns a plain dict. `wishes` are those of `Job`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax.errors import UsageError
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import blend as blend_tool
from sora_jax.generate import curve as curves
from sora_jax.generate import loop as loop_tool
from sora_jax.generate import recut as recut_tool
from sora_jax.generate import remix as remix_tool
from sora_jax.generate import t2v
from sora_jax.generate.controls import take
from sora_jax.generate.request import count_frames
from sora_jax.studio.job import Job
from sora_jax.studio.record import tool
from sora_jax.studio.timeline import Segment


@tool
def remix(
    model: str,
    source: str | Path,
    prompt: str,
    out: str | Path,
    *,
    strength: str = "mild",
    mask: str | Path | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Make `source` again as `prompt` says. Where `mask` (a picture) is dark it stays as it is.

    `wishes` may also have fields of `Controls`, but for pacing.
    """
    amount = remix_tool.parse_strength(strength)
    controls, wishes = take(wishes)
    if controls.pacing is not None:
        raise UsageError("pacing is of new videos; change a clip's pace by recut or its prompt")
    job = Job(model, prompt, out, wishes, controls)
    if mask is not None and job.direction.changes_frames:
        raise UsageError(
            "a mask keeps pixels as they are and these controls change all of them; leave the mask "
            "out, or say it in the prompt"
        )
    frames = job.read(source)
    keep = None if mask is None else job.read_image(mask).max(-1) < 128
    video = remix_tool.remix(
        job.engine(), frames[None], [job.request], job.settings, strength=amount, keep=keep
    )
    return job.finish(video[0], strength=amount)


@tool
def blend(
    model: str,
    first: str | Path,
    second: str | Path,
    out: str | Path,
    *,
    seconds: float | None = None,
    mode: str = "transition",
    curve: str = "linear",
    **wishes: Any,
) -> dict[str, Any]:
    """Go from `first` to `second`: by `seconds` of transition between them, or mixed throughout.

    `wishes` may have a `prompt`, and a `timeline` to write.
    """
    if mode not in blend_tool.MODES:
        raise UsageError(f"mode {mode!r} is not one of {', '.join(blend_tool.MODES)}")
    if (mode == "mix") != (seconds is None):
        raise UsageError("--seconds is the length of a transition: give it there, and not to a mix")
    influence = curves.parse_curve(curve)
    job = _job(model, out, wishes)
    a, b = job.read(first, keep_end=True), job.read(second)
    engine, request = job.engine(), [job.request]
    if seconds is None:
        count = min(len(a), len(b))
        video = blend_tool.mix(
            engine, a[None, :count], b[None, :count], request, job.settings, curve=influence
        )
        facts = job.write_timeline([Segment(name="1 mix", path=job.out, start=0, count=count)])
        return job.finish(video[0], mode=mode, curve=curve, **facts)
    num_new = count_frames(seconds, job.settings.fps)
    video = blend_tool.transition(
        engine, a[None], b[None], request, job.settings, num_new=num_new, curve=influence
    )
    facts = job.write_timeline(
        [
            Segment(name="1 A", path=Path(first), start=job.dropped[str(first)], count=len(a)),
            Segment(name="2 generated", path=job.out, start=len(a), count=num_new),
            Segment(name="3 B", path=Path(second), start=0, count=len(b)),
        ]
    )
    return job.finish(video[0], mode=mode, curve=curve, **facts)


@tool
def loop(
    model: str,
    source: str | Path | None,
    out: str | Path,
    *,
    seconds: float,
    prompt: str | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Make a clip of `seconds` that has no end: from a prompt, or `source` and a way back."""
    if source is None and prompt is None:
        raise UsageError("a loop is made of a VIDEO or of a prompt (-p); give one of them")
    job = Job(model, prompt, out, wishes)
    total, window = count_frames(seconds, job.settings.fps), job.settings.num_frames
    request = [job.request]
    if source is None and total == window:
        video = loop_tool.from_prompt(job.engine(), request, job.settings)
        return job.finish(video[0])
    engine = job.engine()
    way_back = max(window // 2 // CHUNK_FRAMES, 1) * CHUNK_FRAMES
    if source is None:
        _check_longer(total, way_back, job)
        frames = t2v.generate(engine, request, job.settings, num_frames=total - way_back)
    else:
        frames = job.read(source)[None]
        way_back = total - frames.shape[1]
        _check_longer(total, frames.shape[1], job)
    video = loop_tool.close(engine, frames, request, job.settings, num_new=way_back)
    return job.finish(video[0], given_frames=frames.shape[1])


@tool
def recut(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    keep: Sequence[tuple[float, float]],
    fill: float = 0.0,
    **wishes: Any,
) -> dict[str, Any]:
    """Join the parts [start, end) seconds of `source`, `fill` generated seconds between each.

    `wishes` may have a `prompt`, and a `timeline` to write.
    """
    job = _job(model, out, wishes)
    frames = job.read(source)
    spans = [_span(span, len(frames), job) for span in keep]
    parts = [frames[None, span] for span in spans]
    num_fill = count_frames(fill, job.settings.fps) if fill else 0
    video = recut_tool.recut(
        job.engine(),
        parts,
        [job.request],
        job.settings,
        num_fill=num_fill,
    )
    kept = sum(part.shape[1] for part in parts)
    facts = job.write_timeline(_segments(Path(source), spans, job.out, num_fill))
    return job.finish(video[0], kept_frames=kept, filled_frames=video.shape[1] - kept, **facts)


def _job(model: str, out: str | Path, wishes: dict[str, Any]) -> Job:
    """A job whose wishes may have a prompt and a timeline."""
    own = ("prompt", "timeline")
    rest = {name: value for name, value in wishes.items() if name not in own}
    job = Job(model, wishes.get("prompt"), out, rest)
    job.plan_timeline(wishes.get("timeline"))
    return job


def _segments(source: Path, spans: Sequence[slice], out: Path, num_fill: int) -> list[Segment]:
    """What a re-cut shows, in order: parts of `source`, and what is generated, out of `out`."""
    segments: list[Segment] = []
    place = 0
    for number, span in enumerate(spans):
        if number and num_fill:
            name = f"{len(segments) + 1} generated"
            segments.append(Segment(name=name, path=out, start=place, count=num_fill))
            place += num_fill
        count = span.stop - span.start
        name = f"{len(segments) + 1} kept"
        segments.append(Segment(name=name, path=source, start=span.start, count=count))
        place += count
    return segments


def _check_longer(total: int, given: int, job: Job) -> None:
    if total <= given:
        fps = job.settings.fps
        raise UsageError(
            f"--seconds {total / fps:g} leaves no time for the way back: {given / fps:g} s are "
            f"taken; use at least {(given + CHUNK_FRAMES) / fps:g}"
        )


def _span(span: tuple[float, float], num_frames: int, job: Job) -> slice:
    """The frames of [start, end) seconds. Raises UsageError unless they are chunks of the clip."""
    fps = job.settings.fps
    chunk = CHUNK_FRAMES / fps
    start, end = span
    if not 0 <= start < end <= num_frames / fps + 1e-6:
        raise UsageError(
            f"--keep {start:g}:{end:g} is not within the clip's 0:{num_frames / fps:g} seconds"
        )
    places = np.array(span) / chunk
    if np.abs(places - places.round()).max() > 1e-6:
        near = places.round() * chunk
        raise UsageError(
            f"--keep {start:g}:{end:g} is not on multiples of {chunk:g} s, the chunks that the "
            f"model sees; use {near[0]:g}:{near[1]:g}"
        )
    return slice(*(int(place) * CHUNK_FRAMES for place in places.round()))
