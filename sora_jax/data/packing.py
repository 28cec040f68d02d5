"""Clips into packed rows: the batch that a training step takes.

A row has a fixed number of tokens, latent frames and text tokens; a clip brings as many as its
geometry has. Which clips share a row is decided by the caller; where they lie is decided here.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from sora_jax.data.geometry import NUM_META, clip_geometry
from sora_jax.errors import LimitError

PADDING_ROLE = 2  # canvas.PADDING
FOREVER = 1e6  # seconds: the end of a caption that spans the whole clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSize:
    """Capacity of a row."""

    tokens: int
    frames: int
    text: int
    clips: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip in latent form."""

    latents: NDArray[np.floating]  # n h w C
    fps: float
    size: tuple[int, int]  # height, width in pixels
    text: NDArray[np.int32]  # token ids of its captions, S
    text_span: NDArray[np.float32]  # [start, end) seconds of each token's caption, S 2
    sample_id: int
    needs_first: bool = False  # the first chunk is a held still image: it must be given


def pack_row(
    clips: Sequence[Clip], size: RowSize, patch: tuple[int, int, int], *, channels: int = 0
) -> dict:
    """One row as a dict of arrays. Raises LimitError for clips that do not fit.

    `channels` of the latents are needed for a row without any clip only.
    """
    _check_fits(clips, size, patch)
    values = (clips[0].latents.shape[-1] if clips else channels) * math.prod(patch)
    row = _empty(size, values)
    token = frame = word = 0
    for number, clip in enumerate(clips):
        tokens, grid = _tokens(clip.latents, patch)
        place = clip_geometry(grid, clip.fps, clip.size)
        here = slice(token, token + len(tokens))
        row["tokens"][here], row["index"][here] = tokens, place.index
        row["position"][here], row["role"][here] = place.position, 0
        row["segment"][here], row["frame"][here] = number, frame + place.frame
        frames = slice(frame, frame + grid[0])
        row["frame_segment"][frames] = number
        row["frame_seconds"][frames], row["meta"][frames] = place.frame_seconds, place.meta
        row["frame_place"][frames] = place.frame_place
        words = slice(word, word + len(clip.text))
        row["text"][words], row["text_segment"][words] = clip.text, number
        row["text_span"][words] = clip.text_span
        row["clip_grid"][number], row["clip_start"][number] = grid, (token, frame)
        row["sample_id"][number], row["needs_first"][number] = clip.sample_id, clip.needs_first
        token, frame, word = here.stop, frames.stop, words.stop
    return row


def pack(rows: Sequence[Sequence[Clip]], size: RowSize, patch: tuple[int, int, int]) -> dict:
    """Rows stacked into a batch."""
    packed = [pack_row(clips, size, patch) for clips in rows]
    return {name: np.stack([row[name] for row in packed]) for name in packed[0]}


def _empty(size: RowSize, values: int) -> dict:
    length, frames, text, clips = size.tokens, size.frames, size.text, size.clips
    return {
        "tokens": np.zeros((length, values), np.float32),
        "index": np.zeros((length, 3), np.int32),
        "position": np.zeros((length, 3), np.float32),
        "role": np.full(length, PADDING_ROLE, np.int32),
        "segment": np.full(length, -1, np.int32),
        "frame": np.full(length, frames - 1, np.int32),
        "frame_segment": np.full(frames, -1, np.int32),
        "frame_seconds": np.zeros(frames, np.float32),
        "frame_place": np.zeros(frames, np.float32),
        "meta": np.zeros((frames, NUM_META), np.float32),
        "text": np.zeros(text, np.int32),
        "text_segment": np.full(text, -2, np.int32),
        "text_span": np.zeros((text, 2), np.float32),
        "clip_grid": np.zeros((clips, 3), np.int32),
        "clip_start": np.zeros((clips, 2), np.int32),
        "sample_id": np.full(clips, -1, np.int32),
        "needs_first": np.zeros(clips, bool),
    }


def _tokens(latents: np.ndarray, patch: tuple[int, int, int]):
    p, q, r = patch
    grid = (latents.shape[0] // p, latents.shape[1] // q, latents.shape[2] // r)
    return rearrange(latents, "(t p) (h q) (w r) c -> (t h w) (p q r c)", p=p, q=q, r=r), grid


def _check_fits(clips: Sequence[Clip], size: RowSize, patch: tuple[int, int, int]) -> None:
    need = {
        "clips": len(clips),
        "tokens": sum(math.prod(c.latents.shape[:3]) // math.prod(patch) for c in clips),
        "frames": sum(c.latents.shape[0] // patch[0] for c in clips),
        "text": sum(len(c.text) for c in clips),
    }
    for name, value in need.items():
        if value > getattr(size, name):
            raise LimitError(
                f"a row takes {getattr(size, name)} {name} and these clips need "
                f"{value}; use a larger row or fewer clips"
            )
