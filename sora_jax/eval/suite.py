"""The toy world suite: a model's videos against what was asked for, with controls.

Real clips and their reconstructions bound what can be reached; shuffled captions, no captions and
the nearest training clips show that what is reached is neither luck nor memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError
from sora_jax.eval import reconstruction, showcase, tools
from sora_jax.eval.running import Evaluation, Progress, Runner, time_one, vae_facts
from sora_jax.eval.scores import Row, by_kind, judge_all, summarise, tabulate
from sora_jax.eval.sets import ToyClip, ToyWorldSets, stack
from sora_jax.eval.toyworld import Verdict, chance
from sora_jax.export.sampling import SamplingConfig
from sora_jax.generate import t2v
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request

COPY_SHARE = 0.4  # of the usual distance between a real clip and its nearest training clip
_SEEDS = {"seen": 0, "heldout": 100_000, "unconditional": 200_000, "tools": 300_000}


def evaluate_toyworld(
    engine: Engine,
    settings: SamplingConfig,
    sets: ToyWorldSets,
    *,
    n: int,
    num_tools: int = 128,
    linear_psnr: float | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge `n` videos for new clips of seen compositions, and `n` for held-out ones.

    Animating and extending are judged on `num_tools` held-out clips at most. The figures are
    oracle, vae, toyworld, animate, extend and sample_seconds of `report.json`. `linear_psnr` is
    that of the linear codec with as many channels, which only training can know.
    """
    if not 2 <= n <= min(len(sets.seen), len(sets.heldout)):
        raise UsageError(
            f"{n} clips are to be judged and the sets have {len(sets.seen)} seen and "
            f"{len(sets.heldout)} held out; judge at least 2 and no more than there are"
        )
    seen, heldout = sets.seen[:n], sets.heldout[:n]
    subjects = tools.pick_subjects(heldout, num_tools)
    run = Runner(engine, 5 * n + 3 * len(subjects), progress)
    real = stack([*seen, *heldout])
    rebuilt = run("reconstruct", 2 * n, lambda rows: engine.decode(engine.encode(real[rows])))
    videos = {
        "seen": _generate(run, engine, settings, _requests(seen, "seen")),
        "heldout": _generate(run, engine, settings, _requests(heldout, "heldout")),
        "unconditional": _generate(run, engine, settings, _unconditional(n)),
    }
    verdicts = {
        "seen": judge_all(videos["seen"], [clip.scene for clip in seen]),
        "heldout": judge_all(videos["heldout"], [clip.scene for clip in heldout]),
    }
    tools_found = tools.evaluate_tools(
        run, engine, settings, subjects, seeds=range(_SEEDS["tools"], 2 * _SEEDS["tools"])
    )
    figures = {
        "oracle": _check_oracle([*seen, *heldout], real, rebuilt),
        "vae": {
            "psnr": reconstruction.psnr(rebuilt[n:], real[n:]),
            "linear_psnr": linear_psnr,
            **vae_facts(engine),
        },
        "toyworld": {
            **{name: _row(verdicts[name], clips) for name, clips in _named(seen, heldout)},
            "controls": _controls(videos, verdicts, sets, rebuilt[n:]),
            "chance": chance(seen[0].scene.level),
        },
        **tools_found.figures,
        "sample_seconds": time_one(engine, seen[0].request(0), settings),
    }
    examples = (
        *showcase.pick_samples("seen compositions", seen, videos["seen"], verdicts["seen"]),
        *showcase.pick_samples(
            "held-out compositions", heldout, videos["heldout"], verdicts["heldout"]
        ),
        *tools_found.examples,
        *showcase.show_reconstructions([clip.prompt for clip in heldout], real[n:], rebuilt[n:]),
    )
    return Evaluation(figures=figures, examples=examples)


def _named(seen: Sequence[ToyClip], heldout: Sequence[ToyClip]):
    return (("seen", seen), ("heldout", heldout))


def _requests(clips: Sequence[ToyClip], name: str) -> list[Request]:
    return [clip.request(_SEEDS[name] + i) for i, clip in enumerate(clips)]


def _unconditional(n: int) -> list[Request]:
    return [Request(captions=(), seed=_SEEDS["unconditional"] + i) for i in range(n)]


def _generate(
    run: Runner, engine: Engine, settings: SamplingConfig, requests: Sequence[Request]
) -> NDArray[np.uint8]:
    return run(
        "generate",
        len(requests),
        lambda rows: t2v.generate(engine, [requests[i] for i in rows], settings),
    )


def _row(verdicts: Sequence[Verdict], clips: Sequence[ToyClip]) -> Row:
    """The row of a set, and in a world of several kinds of scenes a row for each."""
    kinds = by_kind(verdicts, [clip.scene for clip in clips])
    return tabulate(verdicts) | ({"kinds": kinds} if len(kinds) > 1 else {})


def _check_oracle(clips, real: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> dict[str, float]:
    scenes = [clip.scene for clip in clips]
    return {
        "real": summarise([v.all for v in judge_all(real, scenes)])["all"],
        "round_trip": summarise([v.all for v in judge_all(rebuilt, scenes)])["all"],
    }


def _controls(
    videos: dict[str, NDArray[np.uint8]],
    verdicts: dict[str, list[Verdict]],
    sets: ToyWorldSets,
    rebuilt: NDArray[np.uint8],
) -> dict[str, Any]:
    """What scores without the right caption, and what copying would score."""
    n = len(rebuilt)
    scenes = [clip.scene for clip in sets.seen[:n]]
    shuffled = [scenes[i] for i in derange(n, seed=0)]
    return {
        "shuffled_captions": tabulate(judge_all(videos["seen"], shuffled)),
        "unconditional": tabulate(judge_all(videos["unconditional"], scenes)),
        "nearest_train": _look_for_copies(videos["heldout"], sets, rebuilt),
    }


def _look_for_copies(
    videos: NDArray[np.uint8], sets: ToyWorldSets, rebuilt: NDArray[np.uint8]
) -> dict[str, Any] | None:
    """Score the training clip nearest to each held-out video, and say how near it is.

    `generated` and `real` are median distances (root mean square, in pixel values) of the model's
    videos and of real held-out clips seen through the autoencoder, which carry the same grain.
    `copies` is the share of videos nearer than COPY_SHARE of the latter.
    """
    if sets.train is None:
        return None
    index, distance = reconstruction.nearest(videos, sets.train)
    usual = float(np.median(reconstruction.nearest(rebuilt, sets.train)[1]))
    scenes = [clip.scene for clip in sets.heldout[: len(videos)]]
    return tabulate(judge_all(sets.train[index], scenes)) | {
        "generated": float(np.median(distance)),
        "real": usual,
        "copies": float(np.mean(distance < COPY_SHARE * usual)),
        "train_n": len(sets.train),
    }


def derange(n: int, seed: int) -> NDArray[np.int64]:
    """A permutation of n >= 2 places, drawn by `seed`, in which none stays where it is."""
    order = np.random.default_rng(seed).permutation(n)
    result = np.empty(n, np.int64)
    result[order] = np.roll(order, 1)
    return result
