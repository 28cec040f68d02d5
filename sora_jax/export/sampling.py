"""How a model samples unless it is told otherwise; stored in its bundle."""

import dataclasses

CHUNK_FRAMES = 4  # frames of a clip come in whole chunks


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Geometry and schedule of a clip. A model's own values are what it was trained at."""

    num_frames: int
    """Length of the window that the network sees at once; a multiple of 4."""
    size: tuple[int, int]
    """(height, width) in pixels."""
    fps: float
    steps: int = 24
    solver: str = "euler"
    """One of diffusion.solvers.SOLVERS."""
    cfg_scale: float = 3.0
    """Guidance; 1 = off."""
    interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which guidance acts."""
    rescale: float = 0.0
    """Share of the contrast that guidance adds which is taken back."""
    shift: float = 3.0
    """Moves the grid of noise levels towards noise; 1 = evenly spaced."""
    prediction: str = "x0"
    """What the network was trained to give: a fact of its weights, not a choice."""

    def __post_init__(self):
        if self.num_frames < CHUNK_FRAMES or self.num_frames % CHUNK_FRAMES:
            nearest = max(CHUNK_FRAMES, round(self.num_frames / CHUNK_FRAMES) * CHUNK_FRAMES)
            raise ValueError(
                f"num_frames {self.num_frames} is not a multiple of {CHUNK_FRAMES}; use {nearest}"
            )
        if min(self.size) < 1 or self.fps <= 0:
            raise ValueError(f"size {self.size} and fps {self.fps} must be positive")
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} is not enough; use at least 1")
