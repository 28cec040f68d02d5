"""`score`: measure what tells a useful clip from a useless one. Nothing is decided here.

Scores come from the clip as it was cut, except text, which is read in the source's own size. Each
is rounded to four digits, so that equal clips have equal scores on every machine.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipelines.frames import source_frames
from data_pipelines.records import ClipRecord
from sora_jax import media
from sora_jax.errors import UsageError

type Frames = NDArray[np.uint8]  # T H W 3
type Scorer = Callable[[Frames], float]

NUDITY = "data_pipelines.nudity:score"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How scores are measured.

    `flow_pairs` pairs of frames `flow_gap` seconds apart give the motion; `text_frames` frames of
    at most `text_side` pixels are searched for text (0: none). `plugins` names more scores:
    {"aesthetic": "package.module:function"}, where the function takes uint8 frames T H W 3 and
    gives a number.
    """

    flow_pairs: int = 8
    flow_gap: float = 0.125
    flow_side: int = 192
    text_frames: int = 1
    text_side: int = 480
    plugins: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Score:
    """The stage: a record of a clip in, the same with its scores out."""

    config: ScoreConfig
    directory: str = dataclasses.field(repr=False)
    name: str = "score"

    def __call__(self, record: ClipRecord) -> list[ClipRecord]:
        assert record.media is not None
        frames, fps = media.read_video(Path(self.directory) / record.media.path)
        scores = pixel_scores(frames)
        if len(frames) > 1:
            scores |= motion_scores(frames, fps, self.config)
        if self.config.text_frames:
            scores["text_area"] = text_area(
                source_frames(record, self.config.text_frames, self.config.text_side)
            )
        for name, plugin in self.config.plugins.items():
            scores[name] = float(load_plugin(plugin)(frames))
        return [record.replace(scores={name: _rounded(value) for name, value in scores.items()})]


def pixel_scores(frames: Frames) -> dict[str, float]:
    """Lightness, contrast and sharpness of up to eight frames spread over the clip.

    `brightness` and `contrast` (mean and spread) are shares of white; `sharpness` is the median
    variance of the Laplacian in squared grey levels: it falls when a picture is blurred.
    """
    picks = np.unique(np.linspace(0, len(frames) - 1, 8).round().astype(int))
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[picks]]
    return {
        "brightness": float(np.mean([grey.mean() for grey in greys])) / 255,
        "contrast": float(np.mean([grey.std() for grey in greys])) / 255,
        "sharpness": float(np.median([cv2.Laplacian(g, cv2.CV_64F).var() for g in greys])),
    }


def motion_scores(frames: Frames, fps: float, config: ScoreConfig) -> dict[str, float]:
    """What happens between frames.

    `motion`: mean optical flow (DIS), percent of the short side a second. `static_share`: share of
    frames that show what the one before shows. `purity`: 1 where the colours never jump, near 0
    where a cut was missed: the least overlap of the colour histograms of two neighbours.
    """
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    steps = [np.abs(b.astype(np.int16) - a).mean() for a, b in zip(greys, greys[1:], strict=False)]
    histograms = [_histogram(frame) for frame in frames]
    overlap = [np.minimum(a, b).sum() for a, b in zip(histograms, histograms[1:], strict=False)]
    return {
        "motion": _motion(greys, fps, config),
        "static_share": float(np.mean(np.asarray(steps) < 0.25)),
        "purity": float(min(overlap)),
    }


def text_area(frames: list[NDArray[np.uint8]]) -> float:
    """The largest share of a frame that is covered by words that can be read."""
    shares = [0.0]
    for frame in frames:
        found = _reader()(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), use_cls=False)
        if found.boxes is None or found.txts is None or found.scores is None:
            continue
        # Single signs are found in leaves and clouds too; words that are read with ease are text.
        areas = [
            cv2.contourArea(np.asarray(box, np.float32))
            for box, text, sure in zip(found.boxes, found.txts, found.scores, strict=True)
            if sure >= 0.7 and sum(sign.isalnum() for sign in text) >= 3
        ]
        shares.append(sum(areas) / (frame.shape[0] * frame.shape[1]))
    return min(1.0, float(max(shares)))


def load_plugin(name: str) -> Callable[..., Any]:
    """The function that "package.module:function" names. Raises UsageError if there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"plug-in {name!r} can't be loaded ({error}); write it as package.module:function"
        ) from error


def _motion(greys: list[NDArray[np.uint8]], fps: float, config: ScoreConfig) -> float:
    gap = min(len(greys) - 1, max(1, round(config.flow_gap * fps)))
    starts = np.unique(np.linspace(0, len(greys) - 1 - gap, config.flow_pairs).round().astype(int))
    scale = min(1.0, config.flow_side / max(greys[0].shape))
    size = tuple(max(16, round(side * scale)) for side in greys[0].shape[::-1])
    flow = _flow()
    lengths = []
    for start in starts:
        pair = [
            cv2.resize(greys[i], size, interpolation=cv2.INTER_AREA) for i in (start, start + gap)
        ]
        moved = flow.calc(pair[0], pair[1], None)
        lengths.append(np.hypot(moved[..., 0], moved[..., 1]).mean())
    return 100 * float(np.mean(lengths)) / min(size) * fps / gap


def _histogram(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shares of 8 x 4 x 4 colours (hue, saturation, value), smoothed over blocks of pixels."""
    small = cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256])
    return counts.ravel() / counts.sum()


@functools.cache
def _flow() -> Any:
    """One for each process: it keeps buffers."""
    preset = cv2.DISOPTICAL_FLOW_PRESET_FAST
    return cv2.DISOpticalFlow.create(preset)


@functools.cache
def _reader() -> Any:
    """The text reader, with the weights of its package, on one thread."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Det.limit_side_len": 480,
            "Det.limit_type": "max",
        }
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
