"""Small records for the data tests."""

import numpy as np
import pytest

from sora_jax import media
from sora_jax.data.schema import Caption, VideoRecord


@pytest.fixture
def make_record():
    """Record `i`: a clip with a square whose place and colour depend on `i`."""

    def make(i, num_frames=8, size=32):
        video = np.zeros((num_frames, size, size, 3), np.uint8)
        video[:, 2 : 12 + i % 8, 4:20] = np.random.default_rng(i).integers(0, 256, 3)
        return VideoRecord(
            id=f"clip{i}",
            captions=(Caption(f"clip number {i}", 0.0, 1.0), Caption("part", 0.5, 1.0)),
            fps=29.97,
            num_frames=num_frames,
            height=size,
            width=size,
            video=media.encode_mp4(video, 8),
            scores={"motion": 0.25},
            source="test",
            licence="CC0",
            extra={"scene": {"seed": i}},
        )

    return make
