"""The controls, judged: each does what it names, by a scale where it has one, and leaves the rest.

Colour, light and pace are measured on clips of the model beside the same clips without a control.
What a camera does is measured on a ground with texture, by the motion of its points, and what else
it changes on the model's clips. So a view that a model makes of words is not judged here: the
oracle's `camera` is for that.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_jax.eval import seams
from sora_jax.eval.finishing import scene
from sora_jax.eval.intervals import share
from sora_jax.eval.reading import read
from sora_jax.eval.scores import judge_all
from sora_jax.eval.subjects import Line, Shown, Subjects
from sora_jax.generate import t2v
from sora_jax.generate.controls import LIGHTINGS, Controls, direct
from sora_jax.generate.engine import Video
from sora_jax.generate.request import make_request
from sora_jax.generate.styles import STYLES
from sora_jax.post import stabilise, view

CLIPS, GROUNDS = 48, 4
RIGHT, KEPT, SPEARMAN = 0.85, 0.9, 0.9
SAME = 0.8  # overlap with itself above which a thing is where it was, its outline as it was
LIGHT_SCALE = (0.0, 0.25, 0.5, 0.75, 1.0)
CAMERA_SCALE = (0.1, 0.2, 0.3, 0.4)
PACE_SCALE = (0.25, 0.5, 0.75, 1.0, 1.5)

# What must be so of a clip, given the one without the control: T H W 3, values of 255.
type Test = Callable[[NDArray[np.float64], NDArray[np.float64]], bool | np.bool_]


def _light(clip: NDArray) -> float:
    return float(clip.mean())


def _colour(clip: NDArray) -> float:
    """Mean distance of the strongest channel from the weakest."""
    return float((clip.max(-1) - clip.min(-1)).mean())


def _warmth(clip: NDArray) -> float:
    """Log ratio of red to blue."""
    return float(np.log((clip[..., 0].mean() + 1) / (clip[..., 2].mean() + 1)))


STYLE_TESTS: dict[str, Test] = {
    "noir": lambda a, b: _colour(a) < 4,
    "vivid": lambda a, b: _colour(a) > 1.15 * _colour(b),
    "pastel": lambda a, b: _colour(a) < 0.8 * _colour(b) and _light(a) > _light(b),
    "faded": lambda a, b: a.std() < 0.8 * b.std(),
    "retro": lambda a, b: _warmth(a) > _warmth(b) + 0.2,
}
LIGHT_TESTS: dict[str, Test] = {
    "day": lambda a, b: abs(_light(a) / _light(b) - 1) < 0.1,
    "golden hour": lambda a, b: _warmth(a) > _warmth(b) + 0.2 and _light(a) > 0.85 * _light(b),
    "dusk": lambda a, b: _warmth(a) > _warmth(b) + 0.2 and _light(a) < 0.85 * _light(b),
    "night": lambda a, b: _warmth(a) < _warmth(b) - 0.1 and _light(a) < 0.6 * _light(b),
}
# Of a ground with texture. Seen from elsewhere: scale, turn in degrees, top by bottom (`_bend`).
BEND_TESTS: dict[str, Callable[[float, float, float], bool]] = {
    "close-up": lambda scale, turn, lean: scale > 1.15,
    "low angle": lambda scale, turn, lean: lean < 0.9 and abs(turn) < 2,
    "high angle": lambda scale, turn, lean: lean > 1.1 and abs(turn) < 2,
    "dutch angle": lambda scale, turn, lean: 4 < abs(turn) < 15 and 0.9 < lean < 1.1,
}
# Seen by a camera that moves: right, down in sides, log scale (`_path`).
PATH_TESTS: dict[str, Callable[[float, float, float], bool]] = {
    "pan left": lambda right, down, scale: right > 0.1 and abs(down) < 0.05,
    "pan right": lambda right, down, scale: right < -0.1 and abs(down) < 0.05,
    "tilt up": lambda right, down, scale: down > 0.1 and abs(right) < 0.05,
    "tilt down": lambda right, down, scale: down < -0.1 and abs(right) < 0.05,
    "zoom in": lambda right, down, scale: scale > 0.1 and max(abs(right), abs(down)) < 0.05,
    "zoom out": lambda right, down, scale: scale < -0.1 and max(abs(right), abs(down)) < 0.05,
}


def judge_controls(s: Subjects) -> tuple[Line, Shown]:
    """Each name of each control, and the scales of those that have one."""
    judge = _Judge(s)
    line: Line = {"limit_right": RIGHT, "limit_kept": KEPT, "limit_spearman": SPEARMAN}
    view_kept = ("colour", "shape", "background")
    line["style"] = {
        name: judge.of_clips(Controls(style=name), STYLE_TESTS[name]) for name in STYLES
    }
    line["lighting"] = {
        name: judge.of_clips(Controls(lighting=name), LIGHT_TESTS[name]) for name in LIGHTINGS
    }
    line["perspective"] = {
        name: judge.of_view(Controls(perspective=name), name, view_kept)
        for name in view.PERSPECTIVES[1:]
    }
    line["camera"] = {
        name: judge.of_view(Controls(camera=name), name, view_kept) for name in view.MOVES[1:]
    }
    line["pacing"] = judge.of_pace(("colour", "shape", "background"))
    kinds = ("style", "lighting", "perspective", "camera")
    named = [found for kind in kinds for found in line[kind].values()] + [line["pacing"]]
    line["lighting_spearman"] = judge.light_scale()
    line["camera_spearman"] = _camera_scale()
    scales = line["lighting_spearman"], line["camera_spearman"], line["pacing"]["spearman"]
    good = all(found["right"] >= RIGHT and found["kept"] >= KEPT for found in named)
    return {"ok": bool(good and min(scales) >= SPEARMAN)} | line, judge.shown


class _Judge:
    """The model's clips without a control, and what controls make of them."""

    def __init__(self, s: Subjects):
        self._s, self._count = s, min(CLIPS, len(s.clips))
        self._texts = [clip.prompt for clip in s.clips[: self._count]]
        self._scenes = s.scenes[: self._count]
        self._samples: dict[tuple[tuple[str, ...], int], Video] = {}
        self.plain = self._make(Controls())
        self.shown: Shown = []

    def of_clips(self, controls: Controls, test: Test) -> dict[str, Any]:
        """Colours are as the test says, and what stands out of the ground, where it did before."""
        made = self._make(controls)
        pairs = list(zip(made.astype(np.float64), self.plain.astype(np.float64), strict=True))
        self._show(controls, made)
        return {
            "right": share([bool(test(a, b)) for a, b in pairs]),
            "kept": share([_overlap(a, b) >= SAME for a, b in pairs]),
        }

    def of_view(self, controls: Controls, name: str, kept: tuple[str, ...]) -> dict[str, Any]:
        """The textured scenes are seen as `name` says, and the clips still show what they did."""
        made = self._make(controls)
        grounds = [scene(seed) for seed in range(GROUNDS)]
        right = [is_seen_as(name, _seen(controls, clip), clip) for clip in grounds]
        return {"right": share(right)} | self._kept(made, kept, controls)

    def of_pace(self, kept: tuple[str, ...]) -> dict[str, Any]:
        """Objects that move go as many times as far in a frame."""
        speeds = []
        for pace in PACE_SCALE:
            made = self._make(Controls(pacing=pace))
            speeds.append(self._speeds(made))
            if pace == PACE_SCALE[0]:
                found = self._kept(made, kept, Controls(pacing=pace))
        table = np.array(speeds)  # pace, clip
        moves = table[PACE_SCALE.index(1.0)] > 0.3
        if not moves.any():
            return {"right": 0.0, "spearman": 0.0, "pixels_by_pace": {}} | found
        ratio = table[PACE_SCALE.index(0.5), moves] / table[PACE_SCALE.index(1.0), moves]
        order = [seams.spearman(np.array(PACE_SCALE), clip) for clip in table[:, moves].T]
        return {
            "right": share((np.abs(ratio - 0.5) < 0.15).tolist()),
            "spearman": float(np.mean(order)),
            "pixels_by_pace": dict(
                zip(map(str, PACE_SCALE), table[:, moves].mean(1).tolist(), strict=True)
            ),
        } | found

    def light_scale(self) -> float:
        """Rank correlation of the scale with brightness, the mean over clips."""
        made = [self._make(Controls(lighting=x)) for x in LIGHT_SCALE]
        light = np.array([video.mean((1, 2, 3, 4)) for video in made])
        return float(np.mean([seams.spearman(np.array(LIGHT_SCALE), clip) for clip in light.T]))

    def _make(self, controls: Controls) -> Video:
        """The clips as `controls` make them; what is said to the model alike is sampled once."""
        words, window = self._s.engine.bundle.tokenizer.words, self._s.settings.num_frames
        directions = [direct(controls, text, words) for text in self._texts]
        prompts = tuple(direction.prompt for direction in directions)
        count = directions[0].num_sampled(window, window)
        if (prompts, count) not in self._samples:
            requests = [make_request(text, seed=seed) for seed, text in enumerate(prompts)]
            self._samples[prompts, count] = t2v.generate(
                self._s.engine, requests, self._s.settings, num_frames=count
            )
        pairs = zip(directions, self._samples[prompts, count], strict=True)
        return np.stack([direction.finish(clip, window) for direction, clip in pairs])

    def _kept(self, made: Video, keys: tuple[str, ...], controls: Controls) -> dict[str, Any]:
        """The smallest ratio of an attribute's rate to its rate without the control."""
        after, before = (judge_all(videos, self._scenes) for videos in (made, self.plain))
        rates = {
            key: sum(v.attributes[key] for v in after)
            / max(sum(v.attributes[key] for v in before), 1)
            for key in keys
        }
        self._show(controls, made)
        return {"kept": min(rates.values()), "kept_each": rates}

    def _show(self, controls: Controls, made: Video) -> None:
        named = next(value for value in vars(controls).values() if value is not None)
        self.shown.append((f"{named}: {self._texts[0]}", made[0]))

    def _speeds(self, videos: Video) -> list[float]:
        """Median pixels a frame of the first object."""
        found = []
        for video in videos:
            thing = read(video, self._scenes[0].level).things[0]
            steps = np.hypot(np.diff(thing.x), np.diff(thing.y))
            found.append(float(np.nanmedian(steps)) if np.isfinite(steps).any() else 0.0)
        return found


def is_seen_as(name: str, seen: Video, clip: Video) -> bool:
    """Whether `seen` is how a view or a move of that name shows a clip of a ground with texture."""
    if name in BEND_TESTS:
        return bool(BEND_TESTS[name](*_bend(seen, clip)))
    return bool(PATH_TESTS[name](*_path(seen)[:3]))


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of what stands out of the ground in two clips, the mean over frames.

    By brightness and colour apart from any palette: the oracle knows colours as they were.
    """
    found = []
    for x, y in zip(a, b, strict=True):
        here, there = _thing(x), _thing(y)
        found.append(np.sum(here & there) / max(int(np.sum(here | there)), 1))
    return float(np.mean(found))


def _thing(frame: NDArray[np.float64]) -> NDArray[np.bool_]:
    """What is unlike the picture's edge, by Otsu's threshold."""
    edge = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    apart = np.abs(frame - np.median(edge, axis=0)).sum(-1)
    scaled = np.round(255 * apart / max(apart.max(), 1.0)).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_OTSU)
    return scaled > level


def _path(clip: Video) -> NDArray[np.float64]:
    """How the ground goes in a whole clip: right, down (sides), log scale, turn."""
    steps = [stabilise.camera_step(a, b) for a, b in zip(clip, clip[1:], strict=False)]
    return np.sum(steps, axis=0)


def _bend(seen: Video, clip: Video) -> tuple[float, float, float]:
    """Scale, turn in degrees, and how much larger the top is than the bottom, of the first frame.

    By a homography between points that look alike in both (SIFT, Lowe 2004).
    """
    finder = cv2.SIFT.create()
    grey = [
        cv2.resize(cv2.cvtColor(x[0], cv2.COLOR_RGB2GRAY), None, fx=4, fy=4) for x in (clip, seen)
    ]
    (here, a), (there, b) = (finder.detectAndCompute(picture, None) for picture in grey)
    pairs = cv2.BFMatcher(crossCheck=True).match(a, b)
    matrix, _ = cv2.findHomography(
        np.array([here[pair.queryIdx].pt for pair in pairs]),
        np.array([there[pair.trainIdx].pt for pair in pairs]),
        cv2.RANSAC,
        2.0,
    )
    side = grey[0].shape[0]
    places = side * np.array([[0.4, 0.2], [0.6, 0.2], [0.4, 0.8], [0.6, 0.8]])
    found = cv2.perspectiveTransform(places[None], matrix)[0]
    top, bottom = found[1] - found[0], found[3] - found[2]
    lengths = np.linalg.norm([top, bottom], axis=1) / (0.2 * side)
    turn = np.degrees(np.arctan2(top[1] + bottom[1], top[0] + bottom[0]))
    return float(lengths.mean()), float(turn), float(lengths[0] / lengths[1])


def _camera_scale() -> float:
    """Rank correlation of a pan's amount with how far the ground goes, the mean over grounds."""
    found = []
    for seed in range(GROUNDS):
        clip = scene(seed)
        seen = [_seen(Controls(camera=f"pan left:{x}"), clip) for x in CAMERA_SCALE]
        found.append(seams.spearman(np.array(CAMERA_SCALE), np.array([_path(x)[0] for x in seen])))
    return float(np.mean(found))


def _seen(controls: Controls, clip: Video) -> Video:
    """A clip as the controls make it where the model has no words for them."""
    return direct(controls, "", ()).finish(clip, len(clip))
