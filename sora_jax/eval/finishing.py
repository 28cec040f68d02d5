"""The steps of `post`, judged: a defect is planted, and what is left of it afterwards is measured.

The clips are textured grounds over which a red disc moves. Each defect has one figure that is the
smaller the better, of the clip with it (`before`) and of what its step makes of that (`after`); a
clip without a defect must come out as it went in.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.eval.reconstruction import psnr
from sora_jax.post import chain, stabilise

CLIPS, FRAMES, SIDE = 4, 16, 96
MAX_LEFT = {"cast": 0.1, "shake": 0.25, "blur": 0.9, "flicker": 0.1, "noise": 0.5}  # after / before
MIN_CLEAN = 40.0  # dB of a clean clip against itself after each step

type Video = NDArray[np.uint8]  # T H W 3


def judge_post() -> tuple[dict[str, Any], list[tuple[str, Video]]]:
    """The line of `post`, and before and after of each defect to look at."""
    clips = [scene(seed) for seed in range(CLIPS)]
    defects: dict[str, tuple[Callable, Callable, dict[str, Any]]] = {
        "cast": (plant_cast, measure_cast, {"white_balance": True}),
        "shake": (plant_shake, measure_shake, {"stabilise": True}),
        "blur": (plant_blur, measure_blur, {"sharpen": "auto"}),
        "flicker": (plant_flicker, measure_flicker, {"deflicker": True}),
        "noise": (plant_noise, measure_error, {"denoise": "auto"}),
    }
    line: dict[str, Any] = {"limit_left": MAX_LEFT, "limit_clean_psnr": MIN_CLEAN}
    shown, good = [], True
    for name, (plant, measure, wishes) in defects.items():
        spoilt = [plant(clip, np.random.default_rng(seed)) for seed, clip in enumerate(clips)]
        mended = [finish(clip, wishes) for clip in spoilt]
        before, after = (
            float(np.mean([measure(x, clip) for x, clip in zip(those, clips, strict=True)]))
            for those in (spoilt, mended)
        )
        kept = min(psnr(finish(clip, wishes)[None], clip[None]) for clip in clips)
        line[name] = {"before": before, "after": after, "clean_psnr": min(kept, 99.0)}
        good &= after <= MAX_LEFT[name] * before and kept >= MIN_CLEAN
        shown += [(f"{name}, planted", spoilt[0]), (f"{name}, mended", mended[0])]
    return {"ok": bool(good)} | line, shown


def scene(seed: int, num_frames: int = FRAMES, size: int = SIDE) -> Video:
    """A grey texture and a red disc that goes to the right."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 2.5)
    ground = 120 + 60 * ground / np.abs(ground).max()
    y, x = np.mgrid[:size, :size]
    frames = []
    for t in range(num_frames):
        disc = np.clip(12.5 - np.hypot(x - 30 - 2 * t, y - 50), 0, 1)[..., None]
        frames.append(ground[..., None] * (1 - disc) + disc * np.array([220, 40, 40]))
    return _bytes(np.stack(frames))


def finish(video: Video, wishes: dict[str, Any]) -> Video:
    """All frames after the steps that are wished for."""
    return np.stack(list(chain.finish(iter(video), chain.make_steps(**wishes))))


def plant_cast(video: Video, rng: np.random.Generator) -> Video:
    """Too little of one colour, and too much of another."""
    return _bytes(video * rng.permutation([1.05, 0.92, 0.7]))


def measure_cast(video: Video, clean: Video) -> float:
    """How far the strongest colour of the grey ground is above the weakest, as a share."""
    ground = video[:, :32].mean((0, 1, 2))
    return float(ground.max() / ground.min() - 1)


def plant_shake(video: Video, rng: np.random.Generator) -> Video:
    """Each frame shifted by 2 pixels and turned by .8 degrees, root mean squares."""
    out = []
    for frame in video:
        matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), rng.normal(0, 0.8), 1.0)
        matrix[:, 2] += rng.normal(0, 2, 2)
        out.append(cv2.warpAffine(frame, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(out).astype(np.uint8)


def measure_shake(video: Video, clean: Video) -> float:
    """Root mean square shift from frame to frame in pixels."""
    steps = [stabilise.camera_step(a, b) for a, b in zip(video, video[1:], strict=False)]
    return float(np.sqrt(np.mean(np.square(np.array(steps)[:, :2] * SIDE))))


def plant_blur(video: Video, rng: np.random.Generator) -> Video:
    """A Gaussian of 1.5 pixels."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in video]).astype(np.uint8)


def measure_blur(video: Video, clean: Video) -> float:
    """Share of the clean clip's squared slopes that is missing, or too much."""
    own, whole = (np.mean(np.square(np.diff(x.astype(float), axis=2))) for x in (video, clean))
    return float(abs(1 - own / whole))


def plant_flicker(video: Video, rng: np.random.Generator) -> Video:
    """The light of each frame between three quarters and all."""
    return _bytes(video * rng.uniform(0.75, 1, len(video))[:, None, None, None])


def measure_flicker(video: Video, clean: Video) -> float:
    """Mean bend of the log of the ground's light, over time."""
    light = np.log(video[:, :32].mean((1, 2, 3)))
    return float(np.abs(np.diff(light, n=2)).mean())


def plant_noise(video: Video, rng: np.random.Generator) -> Video:
    """Normal noise of 8 of 255."""
    return _bytes(video + rng.normal(0, 8, video.shape))


def measure_error(video: Video, clean: Video) -> float:
    """Root mean square difference from the clean clip, of 255."""
    return float(np.sqrt(np.mean(np.square(video.astype(float) - clean))))


def _bytes(values: NDArray) -> Video:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
