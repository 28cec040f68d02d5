"""What every door calls to make a video: load, check, sample, write, and say what was done.

Each function takes a model's name or path and an output path, writes the mp4 and a contact sheet
beside it (same name, .png), and returns a plain dict for people and programs.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import files, media, sheets
from sora_jax.errors import UsageError
from sora_jax.export.bundle import Bundle, open_model
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import extend as extend_tool
from sora_jax.generate import fit, i2v, t2v
from sora_jax.generate.canvas import encode_captions, encode_negatives
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request, count_frames, make_request, make_settings

PEOPLE_SIDE = 256  # pixels: smaller clips are written larger, each pixel repeated, for players
VIDEO_SUFFIXES = (".mp4",)


def generate(
    model: str, prompt: str, out: str | Path, *, negative: str = "", seed: int = 0, **wishes: Any
) -> dict[str, Any]:
    """Make a video from a text. `wishes` are `seconds` and fields of SamplingConfig, or None."""
    job = _Job(model, prompt, out, negative, seed, wishes)
    video = t2v.generate(job.engine(), [job.request], job.settings, num_frames=job.num_frames)
    return job.finish(video[0])


def animate(
    model: str,
    image: str | Path,
    prompt: str,
    out: str | Path,
    *,
    negative: str = "",
    seed: int = 0,
    **wishes: Any,
) -> dict[str, Any]:
    """Make a video that begins with `image`. `wishes` as for `generate`."""
    job = _Job(model, prompt, out, negative, seed, wishes)
    first, note = fit.fit_size(media.read_image(image)[None], job.settings.size)
    job.note(note)
    video = i2v.animate(job.engine(), first, [job.request], job.settings, num_frames=job.num_frames)
    return job.finish(video[0])


def extend(
    model: str,
    source: str | Path,
    prompt: str | None,
    out: str | Path,
    *,
    direction: str,
    seconds: float,
    negative: str = "",
    seed: int = 0,
    **wishes: Any,
) -> dict[str, Any]:
    """Make `source` longer by `seconds` in `direction` (forward, backward; both: at each end).

    The video is brought to the model's size and rate; the result's "notes" say how.
    """
    job = _Job(model, prompt, out, negative, seed, wishes)
    num_new = count_frames(seconds, job.settings.fps)
    native = media.probe(source).fps
    frames, _ = media.read_video(source, fps=job.settings.fps)
    if abs(native - job.settings.fps) > 0.01:
        job.note(f"{native:g} fps was resampled to {job.settings.fps:g}, the model's rate")
    frames, note = fit.fit_size(frames, job.settings.size)
    job.note(note)
    frames, note = fit.fit_chunks(frames, keep_end=direction == "forward")
    job.note(note)
    video = extend_tool.extend(
        job.engine(),
        frames[None],
        [job.request],
        job.settings,
        num_new=num_new,
        direction=direction,
    )
    return job.finish(video[0], kept_frames=len(frames), direction=direction)


class _Job:
    """One request from its checks to its files."""

    def __init__(
        self,
        model: str,
        prompt: str | None,
        out: str | Path,
        negative: str,
        seed: int,
        wishes: dict[str, Any],
    ):
        # Everything that can be wrong is looked at before anything that takes time.
        self.out = files.check_folder(out)
        if self.out.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(f"cannot write {out}: a video is an mp4; name it {self.out.stem}.mp4")
        self.bundle: Bundle = open_model(model)
        seconds = wishes.pop("seconds", None)
        self.settings: SamplingConfig = make_settings(
            self.bundle.model, self.bundle.sampling, **wishes
        )
        self.num_frames = None if seconds is None else count_frames(seconds, self.settings.fps)
        self.request: Request = (
            Request(captions=(), negative=negative, seed=seed)
            if prompt is None
            else make_request(prompt, negative=negative, seed=seed)
        )
        encode_captions(self.bundle.tokenizer, [self.request])
        encode_negatives(self.bundle.tokenizer, [self.request])
        self.prompt = prompt
        self.notes: list[str] = []
        self.start = time.monotonic()

    def note(self, text: str | None) -> None:
        if text:
            self.notes.append(text)

    def engine(self) -> Engine:
        return Engine(self.bundle)

    def finish(self, video: NDArray[np.uint8], **facts: Any) -> dict[str, Any]:
        sample_seconds = time.monotonic() - self.start
        height, width = video.shape[1:3]
        upscale = max(1, PEOPLE_SIDE // max(height, width))
        media.write_video(self.out, video, self.settings.fps, upscale=upscale)
        sheet = self.out.with_suffix(".png")
        media.write_png(sheet, sheets.contact_sheet([video], [self.prompt or ""]))
        return {
            "output": str(self.out),
            "contact_sheet": str(sheet),
            "frames": len(video),
            "seconds": len(video) / self.settings.fps,
            "fps": self.settings.fps,
            "size": [width, height],
            "upscale": upscale,
            "prompt": self.prompt,
            "negative": self.request.negative,
            "seed": self.request.seed,
            "steps": self.settings.steps,
            "solver": self.settings.solver,
            "cfg_scale": self.settings.cfg_scale,
            "model": str(self.bundle.path),
            "model_digest": self.bundle.digest,
            "sample_seconds": round(sample_seconds, 3),
            "notes": self.notes,
            **facts,
        }
