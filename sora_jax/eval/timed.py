"""What is given or said at a time, judged: pictures in `animate`, cards in `storyboard`."""

from collections.abc import Sequence

import numpy as np

from sora_jax.data.scene import COLOURS, Scene
from sora_jax.eval.intervals import share
from sora_jax.eval.reading import read
from sora_jax.eval.scores import judge_all
from sora_jax.eval.subjects import Line, Shown, Subjects
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import i2v, storyboard
from sora_jax.generate.engine import Video


def judge_animate(s: Subjects) -> tuple[Line, Shown]:
    """A real picture first, last, or one of each: the clip is what its scene says.

    A picture is held for a chunk, so the clip is judged from the last frame of a first picture to
    the first frame of a last one.
    """
    videos, chunk = s.videos, CHUNK_FRAMES
    last = videos.shape[1] - chunk  # frame at which a last picture begins
    cases = {  # chunk: frame of the real clip; the first frame that is judged
        "first": ({0: 0}, chunk - 1),
        "last": ({last // chunk: last}, 0),
        "two": ({0: 0, last // chunk: last - chunk + 1}, chunk - 1),
    }
    line: Line = {"limit_right": 0.9, "limit_right_others": 0.85}
    shown, good = [], True
    for name, (given, begin) in cases.items():
        images = videos[:, list(given.values())]
        made = i2v.animate(s.engine, images, s.requests, s.settings, chunks=list(given))
        end = last + 1 if last // chunk in given else videos.shape[1]
        right = share([v.all for v in judge_all(made[:, :end], s.scenes, begin)])
        is_kept = all(
            np.array_equal(made[:, chunk * place + i], images[:, number])
            for number, place in enumerate(given)
            for i in range(chunk)
        )
        line[name] = {"right": right, "kept_identical": is_kept}
        good &= right >= (0.9 if name == "first" else 0.85) and is_kept
        shown += s.shown(made)[:2]
    return {"ok": bool(good)} | line, shown


def judge_storyboard(s: Subjects) -> tuple[Line, Shown]:
    """Two cards: a still scene, and from the middle on the same in another colour.

    Of boards whose texts the model takes together; `single` is the control: the first card's text
    for all of the clip.
    """
    tokenizer, most = s.engine.bundle.tokenizer, s.engine.model.text.max_tokens
    boards = [
        pair for pair in s.boards if sum(len(tokenizer.encode(text)) for _, text in pair) <= most
    ]
    line: Line = {"n": len(boards), "limit_right": 0.75, "limit_unchanged": 0.9}
    line["limit_in_time"] = 0.75
    if not boards:
        return {"ok": False} | line, []
    half, fps = s.half, s.settings.fps
    made, single = [], []
    for seed, ((_, text), (_, other)) in enumerate(boards):
        cards = [
            storyboard.Card(time=0.0, prompt=text),
            storyboard.Card(time=half / fps, prompt=other),
        ]
        made.append(_render(s, cards, seed))
        single.append(_render(s, cards[:1], seed))
    videos, controls = np.concatenate(made), np.concatenate(single)
    scenes = [[scene for scene, _ in side] for side in zip(*boards, strict=True)]
    line["right"] = _cards_right(videos, scenes, half)
    line["right_single"] = _cards_right(controls, scenes, half)
    line["unchanged"] = _unchanged(videos, scenes[0], half)
    pairs = zip(videos, scenes[1], strict=True)
    line["in_time"] = share([_changes_at(video, scene, half) for video, scene in pairs])
    good = line["right"] >= 0.75 and line["unchanged"] >= 0.9 and line["in_time"] >= 0.75
    good &= line["right_single"] < line["right"] / 2
    prompts = [f"{text} / {other}" for (_, text), (_, other) in boards]
    return {"ok": bool(good)} | line, s.shown(videos, prompts)


def _render(s: Subjects, cards: list[storyboard.Card], seed: int) -> Video:
    frames = s.clips[0].video.shape[0]
    return storyboard.render(s.engine, cards, s.settings, num_frames=frames, seed=seed)


def _cards_right(videos: Video, scenes: Sequence[Sequence[Scene]], half: int) -> float:
    """Share of clips whose halves have the looks of their cards."""
    return _both(videos, scenes[0], scenes[1], half, ("colour", "shape", "background"))


def _unchanged(videos: Video, scenes: Sequence[Scene], half: int) -> float:
    """Share of clips in which what both cards say alike is so in both halves."""
    return _both(videos, scenes, scenes, half, ("shape", "background"))


def _both(videos: Video, before, after, half: int, keys: tuple[str, ...]) -> float:
    verdicts = judge_all(videos[:, :half], before), judge_all(videos, after, half)
    return share(
        [
            all(verdict.attributes[key] for verdict in pair for key in keys)
            for pair in zip(*verdicts, strict=True)
        ]
    )


def _changes_at(video: Video, scene: Scene, half: int) -> bool:
    """Whether the second card's colour comes within a chunk of its time, and stays."""
    wanted = list(COLOURS).index(scene.objects[0].colour)
    has_it = read(video, scene.level).things[0].colour == wanted
    others = np.flatnonzero(~has_it)
    begin = int(others[-1]) + 1 if len(others) else 0
    return abs(begin - half) <= CHUNK_FRAMES
