"""People's own videos: how well clips are rebuilt, and whether their captions bring them back."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.data import records
from sora_jax.errors import UsageError
from sora_jax.eval import reconstruction, showcase
from sora_jax.eval.running import Evaluation, Example, Progress, Runner, time_one, vae_facts
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import t2v
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request, make_request


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealClips:
    """Clips of one geometry, and the caption of each. Several may share a caption."""

    captions: tuple[str, ...]
    videos: NDArray[np.uint8]  # N T H W 3


def load_clips(data_dir: str | Path, split: str, limit: int | None = None) -> RealClips:
    """The clips of a split of shards, or the first `limit`, under their global captions."""
    columns = records.load_all(records.open_split(data_dir, split), limit=limit).columns
    captions = tuple(record.caption for record in columns["record"])
    return RealClips(captions=captions, videos=np.asarray(columns["video"]))


def evaluate_clips(
    engine: Engine,
    settings: SamplingConfig,
    train: RealClips,
    heldout: RealClips,
    *,
    linear_psnr: float | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Rebuild all clips, and sample each caption of `train`.

    The figures are vae, overfit and sample_seconds of `report.json`. A sample is compared with the
    training clips of its caption and its PSNR is that of the nearest one: a caption that stands for
    several windows of a video may bring back any of them. With no held-out clips the VAE's `psnr`
    is that of the training clips.
    """
    if not train.captions:
        raise UsageError("there are 0 training clips; give at least 1")
    prompts = tuple(dict.fromkeys(train.captions))
    run = Runner(engine, len(train.videos) + len(heldout.videos) + len(prompts), progress)
    rebuilt, unseen = (
        run("reconstruct", len(part.videos), _rebuilder(engine, part.videos))
        if len(part.videos)
        else part.videos
        for part in (train, heldout)
    )
    requests = [make_request(prompt, seed=i) for i, prompt in enumerate(prompts)]
    samples = run("generate", len(prompts), _generator(engine, settings, requests))
    found = [
        _compare(sample, prompt, train) for sample, prompt in zip(samples, prompts, strict=True)
    ]
    train_psnr = reconstruction.psnr(rebuilt, train.videos)
    figures = {
        "vae": {
            "psnr": reconstruction.psnr(unseen, heldout.videos) if len(unseen) else train_psnr,
            "train_psnr": train_psnr,
            "linear_psnr": linear_psnr,
            **vae_facts(engine),
        },
        "overfit": {
            "psnr": float(np.mean([figure["psnr"] for figure, _ in found])),
            "n": len(prompts),
            "prompts": [figure for figure, _ in found],
        },
        "sample_seconds": time_one(engine, requests[0], settings),
    }
    shown = [train.captions.index(prompt) for prompt in prompts]
    examples = (
        *(example for _, example in found),
        *showcase.show_reconstructions(
            prompts, train.videos[shown], rebuilt[shown], count=len(shown)
        ),
    )
    return Evaluation(figures=figures, examples=examples)


def _rebuilder(engine: Engine, videos: NDArray[np.uint8]):
    return lambda rows: engine.decode(engine.encode(videos[rows]))


def _generator(engine: Engine, settings: SamplingConfig, requests: Sequence[Request]):
    return lambda rows: t2v.generate(engine, [requests[i] for i in rows], settings)


def _compare(
    sample: NDArray[np.uint8], prompt: str, train: RealClips
) -> tuple[dict[str, Any], Example]:
    """PSNR of a sample against the nearest clip of its caption, and the two side by side."""
    mine = train.videos[[i for i, text in enumerate(train.captions) if text == prompt]]
    index, _ = reconstruction.nearest(sample[None], mine)
    nearest = mine[index[0]]
    psnr = reconstruction.psnr(sample, nearest)
    example = Example(
        group="overfit: the clip, and a sample of its caption",
        prompt=prompt,
        video=np.concatenate([nearest, sample], axis=2),
        notes=(f"{psnr:.1f} dB",),
    )
    return {"prompt": prompt, "psnr": psnr, "clips": len(mine)}, example
