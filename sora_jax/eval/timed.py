"""What is given or said at a time, judged: pictures in `animate`, cards in `storyboard`."""

import numpy as np

from sora_jax.data.scene import COLOURS
from sora_jax.eval.intervals import share
from sora_jax.eval.reading import read
from sora_jax.eval.scores import judge_all
from sora_jax.eval.subjects import Line, Shown, Subjects
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import i2v, storyboard
from sora_jax.generate.engine import Video
from sora_jax.generate.request import Request


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
    """Two cards: the clip's caption, and from the middle on the one with another colour.

    `single` is the control: the first card's text for all of the clip.
    """
    half, fps = s.half, s.settings.fps
    made, single = [], []
    for (_, text), request in zip(s.recoloured, s.requests, strict=True):
        first = request.captions[0].text
        cards = [
            storyboard.Card(time=0.0, prompt=first),
            storyboard.Card(time=half / fps, prompt=text),
        ]
        made.append(_render(s, cards, request))
        single.append(_render(s, cards[:1], request))
    boards, controls = np.concatenate(made), np.concatenate(single)
    line: Line = {
        "right": _cards_right(boards, s),
        "right_single": _cards_right(controls, s),
        "unchanged": _unchanged(boards, s),
        "in_time": share([_changes_at(video, s, i) for i, video in enumerate(boards)]),
        "limit_right": 0.75,
        "limit_unchanged": 0.9,
        "limit_in_time": 0.75,
    }
    good = line["right"] >= 0.75 and line["unchanged"] >= 0.9 and line["in_time"] >= 0.75
    good &= line["right_single"] < line["right"] / 2
    prompts = [
        f"{clip.prompt} / {text}" for clip, (_, text) in zip(s.clips, s.recoloured, strict=True)
    ]
    return {"ok": bool(good)} | line, s.shown(boards, prompts)


def _render(s: Subjects, cards: list[storyboard.Card], request: Request) -> Video:
    frames = s.clips[0].video.shape[0]
    return storyboard.render(s.engine, cards, s.settings, num_frames=frames, seed=request.seed)


def _cards_right(videos: Video, s: Subjects) -> float:
    """Share of clips whose halves have the looks of their cards."""
    after = [scene for scene, _ in s.recoloured]
    first = judge_all(videos[:, : s.half], s.scenes)
    second = judge_all(videos, after, s.half)
    return share(
        [
            all(v.attributes[key] for v in pair for key in ("colour", "shape", "background"))
            for pair in zip(first, second, strict=True)
        ]
    )


def _unchanged(videos: Video, s: Subjects) -> float:
    """Share of clips in which what both cards say alike is so in both halves."""
    first = judge_all(videos[:, : s.half], s.scenes)
    second = judge_all(videos, s.scenes, s.half)
    return share(
        [
            all(v.attributes[key] for v in pair for key in ("shape", "background"))
            for pair in zip(first, second, strict=True)
        ]
    )


def _changes_at(video: Video, s: Subjects, number: int) -> bool:
    """Whether the second card's colour comes within a chunk of its time, and stays."""
    scene, _ = s.recoloured[number]
    wanted = list(COLOURS).index(scene.objects[0].colour)
    has_it = read(video, scene.level).things[0].colour == wanted
    others = np.flatnonzero(~has_it)
    begin = int(others[-1]) + 1 if len(others) else 0
    return abs(begin - s.half) <= CHUNK_FRAMES
