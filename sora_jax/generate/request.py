"""What to make, and the checks that turn wishes into settings the engine can run."""

import dataclasses
import math

from sora_jax.diffusion import solvers
from sora_jax.diffusion.guidance import Guidance
from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.models.network import ModelConfig

FOREVER = 1e6  # seconds: the end of a caption that holds for the whole clip
MAX_TOKENS = 2**14  # of a window; attention over them takes 1 GiB of scores a head
MAX_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption:
    """A text and the seconds [start, end) of the clip that it describes."""

    text: str
    start: float = 0.0
    end: float = FOREVER


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One clip. Its result depends on these values alone, not on what is sampled beside it."""

    captions: tuple[Caption, ...]
    """None at all means unconditional."""
    negative: str = ""
    """What guidance moves away from; empty is no text."""
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed {self.seed} is not in 0..{MAX_SEED}; choose another")

    def seen_from(self, begin: float, end: float) -> "Request":
        """The same clip as a window of the seconds [begin, end) sees it, counted from `begin`.

        Captions of other times are left out. One from the clip's beginning also holds for what is
        put before it, and where all are over, the last one still holds.
        """
        moved = [
            Caption(
                text=caption.text,
                start=0.0 if caption.start == 0 else max(caption.start - begin, 0.0),
                end=caption.end if caption.end >= FOREVER else caption.end - begin,
            )
            for caption in self.captions
            if caption.start < max(end, 1e-6)
        ]
        here = [caption for caption in moved if caption.end > 0]
        here = here or [dataclasses.replace(last, start=0.0, end=FOREVER) for last in moved[-1:]]
        return dataclasses.replace(self, captions=tuple(here))


def make_request(prompt: str, *, negative: str = "", seed: int = 0) -> Request:
    """Build a request with one prompt for the whole clip."""
    return Request(captions=(Caption(text=prompt),), negative=negative, seed=seed)


def make_settings(model: ModelConfig, defaults: SamplingConfig, **changes) -> SamplingConfig:
    """Change a model's own settings; None keeps a default. Raises UsageError or LimitError."""
    changes = {name: value for name, value in changes.items() if value is not None}
    try:
        settings = dataclasses.replace(defaults, **changes)
        make_guidance(settings)
        solvers.get(settings.solver)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if settings.shift <= 0:
        raise UsageError(f"shift {settings.shift} must be positive; 1 spaces the levels evenly")
    _check_size(settings.size, model)
    num_tokens = math.prod(token_grid(model, settings))
    if num_tokens > MAX_TOKENS:
        height, width = settings.size
        raise LimitError(
            f"{settings.num_frames} frames of {width}x{height} are {num_tokens} tokens and "
            f"{MAX_TOKENS} is the limit; make the size smaller"
        )
    return settings


def make_guidance(settings: SamplingConfig) -> Guidance:
    """Guidance of these settings."""
    return Guidance(scale=settings.cfg_scale, interval=settings.interval, rescale=settings.rescale)


def latent_grid(model: ModelConfig, settings: SamplingConfig) -> tuple[int, int, int]:
    """(chunks, rows, columns) of the latents of a window."""
    height, width = settings.size
    step = model.vae.spatial
    return settings.num_frames // CHUNK_FRAMES, height // step, width // step


def token_grid(model: ModelConfig, settings: SamplingConfig) -> tuple[int, int, int]:
    """(chunks, rows, columns) of the tokens of a window."""
    n, h, w = (
        size // step
        for size, step in zip(latent_grid(model, settings), model.dit.patch, strict=True)
    )
    return n, h, w


def count_frames(seconds: float, fps: float) -> int:
    """Frames in `seconds` at `fps`. Raises UsageError unless they are whole chunks of 4."""
    frames = seconds * fps
    chunks = frames / CHUNK_FRAMES
    if not math.isfinite(chunks) or chunks <= 0:
        raise UsageError(f"--seconds {seconds:g} must be positive; use {CHUNK_FRAMES / fps:g}")
    if abs(chunks - round(chunks)) > 1e-6:
        options = [n * CHUNK_FRAMES / fps for n in (math.floor(chunks), math.ceil(chunks)) if n]
        raise UsageError(
            f"--seconds {seconds:g} at {fps:g} fps is {frames:g} frames, not a multiple of "
            f"{CHUNK_FRAMES}; use --seconds {' or '.join(f'{value:g}' for value in options)}"
        )
    return round(chunks) * CHUNK_FRAMES


def _check_size(size: tuple[int, int], model: ModelConfig) -> None:
    steps = [model.vae.spatial * patch for patch in model.dit.patch[1:]]
    if any(side % step for side, step in zip(size, steps, strict=True)):
        low, high = (
            tuple(
                max(rounding(side / step), 1) * step for side, step in zip(size, steps, strict=True)
            )
            for rounding in (math.floor, math.ceil)
        )
        raise UsageError(
            f"size {size[1]}x{size[0]} is not a multiple of {steps[1]}x{steps[0]}; use "
            + " or ".join(dict.fromkeys(f"{width}x{height}" for height, width in (low, high)))
        )
