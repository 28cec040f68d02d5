"""More clips out of few: what a video still is when it is mirrored, turned or played backwards."""

import dataclasses

import numpy as np

from sora_jax.data.geometry import CHUNK_FRAMES
from sora_jax.data.records import Sample


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is drawn anew each time that a clip is seen. The default is the clip as it is."""

    frames: int = 0  # of each clip, in a row from a drawn one on; 0: all
    mirror: bool = False  # left and right, top and bottom, and of squares rows and columns
    reverse: bool = False  # half of the clips backwards in time

    def __post_init__(self):
        if self.frames < 0 or self.frames % CHUNK_FRAMES:
            raise ValueError(
                f"frames is {self.frames}; give 0 for all of a clip's, or a multiple of "
                f"{CHUNK_FRAMES}"
            )


def augment(cfg: AugmentConfig, item: Sample, rng: np.random.Generator) -> Sample:
    """A sample with another view of its `video` (T H W 3). A loader's transform."""
    video = item["video"]
    if cfg.frames:
        start = rng.integers(len(video) - cfg.frames + 1)
        video = video[start : start + cfg.frames]
    if cfg.reverse and rng.random() < 0.5:
        video = video[::-1]
    if cfg.mirror:
        for axis in (1, 2):
            if rng.random() < 0.5:
                video = np.flip(video, axis)
        if video.shape[1] == video.shape[2] and rng.random() < 0.5:
            video = video.swapaxes(1, 2)
    return {**item, "video": video}
