"""One request from its checks to its files: what every tool of the studio goes through."""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax import files, media, sheets
from sora_jax.errors import LimitError, UsageError
from sora_jax.export.bundle import Bundle, open_model
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import fit
from sora_jax.generate.canvas import encode_captions, encode_negatives
from sora_jax.generate.controls import Controls, Direction, direct
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request, count_frames, make_request, make_settings
from sora_jax.post import audio
from sora_jax.studio import timeline
from sora_jax.studio.record import file_digest
from sora_jax.studio.timeline import Segment

PEOPLE_SIDE = 256  # pixels: smaller clips are written larger, each pixel repeated, for players
VIDEO_SUFFIXES = (".mp4",)
MAX_SECONDS = 60.0  # of a video that goes into a tool
DRAFT_SHARE = 8  # a draft takes one step for so many of the whole


class Job:
    """One request from its checks to its files."""

    def __init__(
        self,
        model: str,
        prompt: str | None,
        out: str | Path,
        wishes: dict[str, Any],
        controls: Controls | None = None,
    ):
        """`wishes`: negative, seed, seconds, draft, fields of SamplingConfig; None is the default.

        A draft takes an eighth of the model's own steps.
        """
        # Everything that can be wrong is looked at before anything that takes time.
        self.out = files.check_folder(out)
        if self.out.suffix.lower() not in VIDEO_SUFFIXES:
            raise UsageError(f"cannot write {out}: a video is an mp4; name it {self.out.stem}.mp4")
        self.bundle: Bundle = open_model(model)
        own = ("negative", "seed", "seconds", "draft")
        changes = {name: value for name, value in wishes.items() if name not in own}
        if wishes.get("draft") and changes.get("steps") is None:
            changes["steps"] = max(self.bundle.sampling.steps // DRAFT_SHARE, 1)
        self.direction = (
            Direction(prompt=prompt or "")
            if controls is None
            else direct(controls, prompt or "", self.bundle.tokenizer.words)
        )
        if changes.get("cfg_scale") is None:
            changes["cfg_scale"] = self.direction.cfg_scale
        self.settings: SamplingConfig = make_settings(
            self.bundle.model, self.bundle.sampling, **changes
        )
        seconds = wishes.get("seconds")
        negative = wishes.get("negative") or self.direction.negative
        seed = wishes.get("seed") or 0
        self.num_frames = None if seconds is None else count_frames(seconds, self.settings.fps)
        self.request: Request = (
            Request(captions=(), negative=negative, seed=seed)
            if prompt is None
            else make_request(self.direction.prompt, negative=negative, seed=seed)
        )
        encode_captions(self.bundle.tokenizer, [self.request])
        encode_negatives(self.bundle.tokenizer, [self.request])
        self.prompt = prompt
        self.notes: list[str] = []
        self.inputs: dict[str, str] = {}  # SHA-256 of each file that went in
        self.timeline: Path | None = None
        self.dropped: dict[str, int] = {}  # frames left out at the beginning of each video
        self.start = time.monotonic()
        if controls is not None and controls.styles is not None:
            self.take(controls.styles)

    @property
    def num_sampled(self) -> int | None:
        """Frames to sample for `num_frames`: more or fewer where the pace is another."""
        window = self.settings.num_frames
        if self.direction.pace == 1:
            return self.num_frames
        return self.direction.num_sampled(self.num_frames or window, window)

    def note(self, text: str | None) -> None:
        if text:
            self.notes.append(text)

    def engine(self) -> Engine:
        return Engine(self.bundle)

    def read(self, source: str | Path, *, keep_end: bool = False) -> NDArray[np.uint8]:
        """A video (T H W 3) at the model's rate and size, of whole chunks; notes say what was done.

        `keep_end` is for what comes after it: frames too many are dropped at its beginning.
        """
        self.take(source)
        info = media.probe(source)
        native = info.fps
        _check_length(source, info.num_frames / native)
        frames, _ = media.read_video(source, fps=self.settings.fps)
        _check_length(source, len(frames) / self.settings.fps)  # the header may not say
        if audio.tracks(source):
            self.note(f"the sound of {Path(source).name} is left out: other frames come out")
        if abs(native - self.settings.fps) > 0.01:
            self.note(f"{native:g} fps was resampled to {self.settings.fps:g}, the model's rate")
        frames, note = fit.fit_size(frames, self.settings.size)
        self.note(note)
        whole = len(frames)
        frames, note = fit.fit_chunks(frames, keep_end=keep_end)
        self.note(note)
        self.dropped[str(source)] = whole - len(frames) if keep_end else 0
        return frames

    def read_image(self, source: str | Path) -> NDArray[np.uint8]:
        """A picture (H W 3) as it is."""
        self.take(source)
        return media.read_image(source)

    def take(self, source: str | Path) -> None:
        """Note that a file goes in. What is wrong with it is said by who reads it."""
        path = Path(source).resolve()
        if path.is_file():
            self.inputs[str(path)] = file_digest(path)

    def plan_timeline(self, path: str | Path | None) -> None:
        """Check the name of a timeline that shall be written; None is none."""
        self.timeline = None if path is None else timeline.check(path, self.settings.fps)

    def write_timeline(self, segments: Sequence[Segment]) -> dict[str, Any]:
        """Write the timeline, if one is wanted, and give what is said of it."""
        if self.timeline is None:
            return {}
        return timeline.write(self.timeline, self.out.stem, segments, self.settings.fps)

    def finish(self, video: NDArray[np.uint8], **facts: Any) -> dict[str, Any]:
        sample_seconds = time.monotonic() - self.start
        if self.direction.done_by:
            window = len(video) if self.direction.pace == 1 else self.settings.num_frames
            video = self.direction.finish(video, self.num_frames or window)
            facts["controls"] = dict(self.direction.done_by)
            facts["prompt_sampled"] = self.direction.prompt
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
            "details": {  # for the record
                "settings": dataclasses.asdict(self.settings),
                "inputs": self.inputs,
                "frames_sha256": hashlib.sha256(np.ascontiguousarray(video).tobytes()).hexdigest(),
            },
        }


def _check_length(source: str | Path, seconds: float) -> None:
    if seconds > MAX_SECONDS + 1e-6:
        raise LimitError(
            f"{source} has {seconds:.4g} s and a tool takes {MAX_SECONDS:g}; trim it first"
        )
