"""Blend: one clip that goes from A to B."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import LimitError, UsageError
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import gap
from sora_jax.generate.curve import Curve
from sora_jax.generate.engine import Engine, Video
from sora_jax.generate.request import Request
from sora_jax.post import retime

MODES = ("transition", "mix")
MIX_STRENGTH = 0.85  # where A and B weigh alike; none at the ends of the curve


def transition(
    engine: Engine,
    first: Video,
    second: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    num_new: int,
    curve: Curve,
) -> Video:
    """`first`, then `num_new` frames that lead to `second`, then `second` (each B T H W 3).

    Both come out as they went in. What one window has room for between the two is sampled,
    and seen along its motion at the places where the change is as far as `curve` says: so a long
    transition is a slow change, and not a sudden one after more of A.
    """
    _check_chunks({"A": first.shape[1], "B": second.shape[1], "transition": num_new})
    made = gap.fill(
        engine,
        first,
        second,
        requests,
        settings,
        num_new=min(num_new, settings.num_frames - 2 * CHUNK_FRAMES),
    )
    inside = np.concatenate([first[:, -1:], made, second[:, :1]], axis=1)
    new = [retime.at_places(frames, follow(frames, curve, num_new)) for frames in inside]
    return np.concatenate([first, np.stack(new), second], axis=1)


def mix(
    engine: Engine,
    first: Video,
    second: Video,
    requests: Sequence[Request],
    settings: SamplingConfig,
    *,
    curve: Curve,
) -> Video:
    """One clip out of two that run side by side (B T H W 3, one window each).

    The curve says how much of B there is at each time. A chunk at 0 or 1 is A's or B's; between
    them sampling begins from the weighted sum of both, noised the more the more they differ in
    weight from being one clip, so that one scene comes out and not two pictures over each other.
    """
    for name, video in (("A", first), ("B", second)):
        if video.shape[1] != settings.num_frames:
            raise LimitError(
                f"{name} has {video.shape[1]} frames and this model mixes {settings.num_frames} at "
                "a time; cut both to that length"
            )
    count = first.shape[1] // CHUNK_FRAMES
    weight = np.array([curve((i + 0.5) / count) for i in range(count)], np.float32)
    a, b = engine.encode(first), engine.encode(second)
    by_chunk = weight[None, :, None, None, None]
    strength = MIX_STRENGTH * (1 - np.abs(2 * weight - 1))
    return engine.decode(
        engine.sample(
            requests,
            settings,
            latents=(1 - by_chunk) * a + by_chunk * b,
            known=np.broadcast_to((strength == 0)[None, :, None, None], a.shape[:-1]),
            strength=np.broadcast_to(strength, a.shape[:2]),
        )
    )


def _check_chunks(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if count < CHUNK_FRAMES or count % CHUNK_FRAMES:
            raise UsageError(f"{name} has {count} frames; it needs a multiple of {CHUNK_FRAMES}")


def follow(frames: NDArray[np.uint8], curve: Curve, count: int) -> NDArray[np.float64]:
    """Where in `frames` (T H W 3, from A's last to B's first) the change has come as far as told.

    How far it has come is the share of all differences between neighbouring frames that lie behind:
    a network changes much in some frames and little in others. Fractional places of `count` frames
    between the ends.
    """
    change = np.diff(frames.astype(np.float64), axis=0)
    length = np.sqrt(np.mean(np.square(change), axis=(1, 2, 3))) + 1e-6
    done = np.concatenate([[0.0], np.cumsum(length)]) / length.sum()
    told = [curve(i / (count + 1)) for i in range(1, count + 1)]
    return np.interp(told, done, np.arange(len(frames)))
