"""Animating and extending, judged: what was given is kept, and what was asked for goes on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.eval.intervals import share
from sora_jax.eval.reconstruction import psnr
from sora_jax.eval.running import Evaluation, Example, Runner
from sora_jax.eval.scores import judge_all
from sora_jax.eval.sets import ToyClip, stack
from sora_jax.eval.toyworld import Verdict
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate import extend, i2v
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Request

SHOWN = 6  # examples of each tool


def pick_subjects(clips: Sequence[ToyClip], count: int) -> tuple[ToyClip, ...]:
    """The first `count` clips without a scene change, which half a clip does not foretell."""
    return tuple(clip for clip in clips if clip.scene.change is None)[:count]


def evaluate_tools(
    run: Runner,
    engine: Engine,
    settings: SamplingConfig,
    clips: Sequence[ToyClip],
    *,
    seeds: Sequence[int],
) -> Evaluation:
    """Animate the first frame of each clip, and extend its first and its second half."""
    requests = [clip.request(seed) for clip, seed in zip(clips, seeds, strict=False)]
    animated = _animate(run, engine, settings, clips, requests)
    extended = _extend(run, engine, settings, clips, requests)
    return Evaluation(
        figures={"animate": animated.figures, "extend": extended.figures},
        examples=animated.examples + extended.examples,
    )


def _animate(run: Runner, engine, settings, clips, requests: Sequence[Request]) -> Evaluation:
    """Judged from the last of the four held frames on: before it, nothing may move."""
    images = stack(clips)[:, 0]
    held = np.repeat(images[:, None], CHUNK_FRAMES, axis=1)
    videos = run(
        "animate",
        len(clips),
        lambda rows: i2v.animate(
            engine, images[rows][:, None], [requests[i] for i in rows], settings
        ),
    )
    verdicts = judge_all(videos, [clip.scene for clip in clips], CHUNK_FRAMES - 1)
    figures = {
        "known_psnr": psnr(videos[:, :CHUNK_FRAMES], held),
        "own_psnr": psnr(engine.decode(engine.encode(held)), held),
        "motion": share([v.attributes["motion"] for v in verdicts]),
        "all": share([v.all for v in verdicts]),
        "n": len(clips),
    }
    given = f"given: one image, held for the first {CHUNK_FRAMES} frames"
    return Evaluation(figures=figures, examples=_show("animate", clips, videos, verdicts, given))


def _extend(run: Runner, engine, settings, clips, requests: Sequence[Request]) -> Evaluation:
    """Half of a clip is given; right means that the whole result is what the scene says.

    Kept frames are held to the autoencoder's own reconstruction of the whole real clip.
    """
    real = stack(clips)
    half = real.shape[1] // CHUNK_FRAMES // 2 * CHUNK_FRAMES
    own = engine.decode(engine.encode(real))
    kept = {"forward": slice(0, half), "backward": slice(half, None)}
    figures: dict[str, Any] = {"n": len(clips)}
    examples: list[Example] = []
    for direction, frames in kept.items():
        given = real[:, frames]
        videos = _extend_all(run, engine, settings, (given, requests), direction, real.shape[1])
        verdicts = judge_all(videos, [clip.scene for clip in clips])
        prefix = "" if direction == "forward" else "backward_"
        figures[f"{prefix}known_psnr"] = psnr(videos[:, frames], given)
        figures[f"{prefix}own_psnr"] = psnr(own[:, frames], given)
        figures[f"{prefix}continues"] = share([v.all for v in verdicts])
        place = "first" if direction == "forward" else "last"
        note = f"given: the {place} {given.shape[1]} frames"
        examples += _show(f"extend {direction}", clips, videos, verdicts, note)
    return Evaluation(figures=figures, examples=tuple(examples))


def _extend_all(
    run: Runner,
    engine,
    settings,
    given: tuple[NDArray[np.uint8], Sequence[Request]],
    direction,
    length,
) -> NDArray[np.uint8]:
    """Bring given halves to `length` frames in `direction`."""
    videos, requests = given
    return run(
        f"extend {direction}",
        len(videos),
        lambda rows: extend.extend(
            engine,
            videos[rows],
            [requests[i] for i in rows],
            settings,
            num_new=length - videos.shape[1],
            direction=direction,
        ),
    )


def _show(
    group: str,
    clips: Sequence[ToyClip],
    videos: NDArray[np.uint8],
    verdicts: Sequence[Verdict],
    note: str,
) -> tuple[Example, ...]:
    return tuple(
        Example(
            group=group,
            prompt=clip.prompt,
            video=video,
            is_right=verdict.all,
            notes=(note, *verdict.reasons),
        )
        for clip, video, verdict in list(zip(clips, videos, verdicts, strict=True))[:SHOWN]
    )
