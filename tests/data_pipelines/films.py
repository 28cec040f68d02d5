"""Small films with known cuts, and the settings to run them quickly."""

import os
import signal
from pathlib import Path

import cv2
import numpy as np

from data_pipelines import records
from data_pipelines.pipeline import PipelineConfig
from data_pipelines.records import ClipRecord
from data_pipelines.stages.clip import Clip, ClipConfig
from data_pipelines.stages.ingest import Ingest, IngestConfig
from data_pipelines.stages.score import ScoreConfig
from data_pipelines.stages.shots import Shots, ShotsConfig
from sora_jax import media
from sora_jax.data.schema import Caption

FPS = 24.0
# No text: its reader takes seconds to start.
QUICK = PipelineConfig(
    clip=ClipConfig(short_side=64, min_seconds=0.5, max_seconds=2.0),
    score=ScoreConfig(text_frames=0),
)


def scene(seed, count, *, size=(72, 96), speed=2):
    """A landscape of blobs in colours of its own that passes by at `speed` pixels a frame."""
    rng = np.random.default_rng(seed)
    width = size[1] + count * speed
    blobs = rng.integers(0, 255, (5, 2 + width // 16, 1)) / 255
    colours = rng.uniform(130, 250, 3), rng.uniform(0, 80, 3)
    picture = cv2.resize((blobs * colours[0] + (1 - blobs) * colours[1]), (width, size[0]))
    detail = rng.integers(-12, 12, (size[0], width, 1))
    picture = np.clip(picture + detail, 0, 255).astype(np.uint8)
    return np.stack([picture[:, t * speed : t * speed + size[1]] for t in range(count)])


def dissolve(first, second):
    """One picture turns into another, frame by frame."""
    share = np.linspace(0, 1, len(first))[:, None, None, None]
    return (first * (1 - share) + second * share).astype(np.uint8)


def write(path, frames, fps=FPS):
    """Write an mp4; its path."""
    path = Path(path)
    path.write_bytes(media.encode_mp4(frames, fps, pixel_format="yuv420p"))
    return path


def ingest(path, **limits) -> ClipRecord:
    """The record of one file."""
    (record,) = Ingest(IngestConfig(**limits))(records.seed(Path(path), Path(path).parent))
    return record


def shots(path, **settings) -> list[ClipRecord]:
    """The shots of one file."""
    return Shots(ShotsConfig(**settings))(ingest(path))


def clips(path, directory, config=QUICK.clip) -> list[ClipRecord]:
    """The clips of one file, cut into `directory`."""
    return [clip for shot in shots(path) for clip in Clip(config, str(directory))(shot)]


class Crash:
    """A stage in which a decoder takes the process with it at one file."""

    name = "score"

    def __call__(self, record):
        if record.source == "b":
            os.kill(os.getpid(), signal.SIGSEGV)
        return [record]


def describe(record, look):
    """A caption plug-in."""
    pictures = look(2, 48)
    text = f"{len(pictures)} pictures of {pictures[0].shape[1]} pixels"
    return [Caption(text, 0.0, record.media.seconds)]
