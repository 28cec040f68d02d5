"""Which clips the report shows: a fair look at successes and failures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sora_jax.eval.reconstruction import error_picture, psnr_each
from sora_jax.eval.running import Example
from sora_jax.eval.sets import ToyClip
from sora_jax.eval.toyworld import Verdict

SAMPLES = 12  # of each set
FAILURES = 4  # of them, where there are as many
RECONSTRUCTIONS = 4
RECONSTRUCTION = "autoencoder: source, reconstruction, error x6"


def pick_samples(
    group: str,
    clips: Sequence[ToyClip],
    videos: NDArray[np.uint8],
    verdicts: Sequence[Verdict],
) -> tuple[Example, ...]:
    """The first failures, and the first clips as they come, right or wrong: nothing is chosen."""
    wrong = [i for i, verdict in enumerate(verdicts) if not verdict.all][:FAILURES]
    rest = [i for i in range(len(verdicts)) if i not in wrong][: SAMPLES - len(wrong)]
    return tuple(
        Example(
            group=group,
            prompt=clips[i].prompt,
            video=videos[i],
            is_right=verdicts[i].all,
            notes=verdicts[i].reasons,
        )
        for i in [*wrong, *rest]
    )


def show_reconstructions(
    prompts: Sequence[str],
    real: NDArray[np.uint8],
    rebuilt: NDArray[np.uint8],
    count: int = RECONSTRUCTIONS,
) -> tuple[Example, ...]:
    """Source, reconstruction and amplified error side by side (B T H 3W 3)."""
    real, rebuilt = real[:count], rebuilt[:count]
    strips = np.concatenate([real, rebuilt, error_picture(real, rebuilt)], axis=3)
    return tuple(
        Example(
            group=RECONSTRUCTION,
            prompt=prompt,
            video=strip,
            notes=(f"{value:.1f} dB",),
        )
        for prompt, strip, value in zip(prompts, strips, psnr_each(rebuilt, real), strict=False)
    )
