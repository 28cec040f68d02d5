"""Verdicts of many clips as one row of a table: a share for each attribute, and an interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.data.scene import Scene
from sora_jax.eval.intervals import share, wilson
from sora_jax.eval.toyworld import Verdict, judge

ATTRIBUTES = (
    "colour",
    "shape",
    "motion",
    "background",
    "speed",
    "camera",
    "light",
    "style",
    "objects",
    "change",
)  # in the order of reports; "integrity" counts within `all` alone

type Row = dict[str, Any]  # attribute: share, all: share, n: clips, interval: [low, high] of all


def judge_all(
    videos: NDArray[np.uint8], scenes: Sequence[Scene], first_frame: int = 0
) -> list[Verdict]:
    """Judge frames [first_frame:] of each clip (B T H W 3) against the scene of its place."""
    return [
        judge(video[first_frame:], scene, first_frame=first_frame)
        for video, scene in zip(videos, scenes, strict=True)
    ]


def tabulate(verdicts: Sequence[Verdict]) -> Row:
    """The shares of right clips. An attribute counts over the clips whose scene decides it.

    Where those are not all of the `n` clips, "decided" has their number.
    """
    row: Row = {}
    fewer: dict[str, int] = {}
    for key in ATTRIBUTES:
        decided = [v.attributes[key] for v in verdicts if key in v.attributes]
        if decided:
            row[key] = share(decided)
        if 0 < len(decided) < len(verdicts):
            fewer[key] = len(decided)
    return row | summarise([v.all for v in verdicts]) | ({"decided": fewer} if fewer else {})


def summarise(right: Sequence[bool]) -> Row:
    """`all`, `n` and the 95% interval of `all`."""
    low, high = wilson(sum(right), len(right))
    return {"all": share(right), "n": len(right), "interval": [low, high]}


def by_kind(verdicts: Sequence[Verdict], scenes: Sequence[Scene]) -> dict[str, Row]:
    """`tabulate` for each kind of scene: one object, two, a moving camera, a change."""
    kinds = [scene.kind for scene in scenes]
    return {
        kind: tabulate([v for v, k in zip(verdicts, kinds, strict=True) if k == kind])
        for kind in ("one", "two", "camera", "change")
        if kind in kinds
    }
