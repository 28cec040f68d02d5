"""What every door calls to make a video: load, check, sample, write, and say what was done.

Each function takes a model's name or path and an output path, writes the mp4, beside it a contact
sheet (.png) and a record (.json), and returns a plain dict for people and programs.
"""

from pathlib import Path
from typing import Any

from sora_jax.generate import extend as extend_tool
from sora_jax.generate import fit, i2v, t2v
from sora_jax.generate.request import count_frames
from sora_jax.studio.job import Job
from sora_jax.studio.record import tool


@tool
def generate(model: str, prompt: str, out: str | Path, **wishes: Any) -> dict[str, Any]:
    """Make a video from a text. `wishes` are those of `Job`."""
    job = Job(model, prompt, out, wishes)
    video = t2v.generate(job.engine(), [job.request], job.settings, num_frames=job.num_frames)
    return job.finish(video[0])


@tool
def animate(
    model: str,
    image: str | Path,
    prompt: str,
    out: str | Path,
    **wishes: Any,
) -> dict[str, Any]:
    """Make a video that begins with `image`. `wishes` as for `generate`."""
    job = Job(model, prompt, out, wishes)
    first, note = fit.fit_size(job.read_image(image)[None], job.settings.size)
    job.note(note)
    video = i2v.animate(job.engine(), first, [job.request], job.settings, num_frames=job.num_frames)
    return job.finish(video[0])


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
