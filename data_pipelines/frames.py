"""Single frames of a clip in its source's size: for readers of text and models that describe."""

import numpy as np
from numpy.typing import NDArray

from data_pipelines.records import ClipRecord
from sora_jax import media


def source_frames(record: ClipRecord, count: int, max_side: int) -> list[NDArray[np.uint8]]:
    """`count` frames H W 3 in the middle of equal parts of the clip, or the only one of a still.

    Larger pictures are made smaller, to `max_side` pixels.
    """
    assert record.span is not None and record.probe is not None
    if record.probe.num_frames == 1:
        return [frame for _, frame in media.timed_frames(record.path, max_side=max_side)]
    start, end = record.span
    length = end - start
    moments = [start + length * (i + 0.5) / count for i in range(count)]
    return [
        next(media.timed_frames(record.path, span=(moment, moment + length), max_side=max_side))[1]
        for moment in moments
    ]
