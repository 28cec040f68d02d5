"""The editing tools, judged by the oracle against doing nothing and against the naive edit.

Each line is a dict with `ok` and the figures beside their limits. The limits are those that the
project sets itself; a line that does not hold says so.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.data.scene import COLOURS, Scene
from sora_jax.errors import UsageError
from sora_jax.eval import directing, finishing, formats, seams, timed
from sora_jax.eval.intervals import share
from sora_jax.eval.reading import read
from sora_jax.eval.reconstruction import psnr
from sora_jax.eval.running import Evaluation, Example
from sora_jax.eval.scores import judge_all
from sora_jax.eval.subjects import Line, Shown, Subjects
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import blend, extend, loop, recut, remix, t2v, takes
from sora_jax.generate.curve import parse_curve
from sora_jax.generate.engine import Video
from sora_jax.generate.request import Request
from sora_jax.post import retime

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # at which a remix's distance is measured
SHOWN = 4  # examples of each tool
DRAFT_SHARE = 8  # a draft takes one step for so many of the whole


def evaluate_edits(subjects: Subjects, progress=None) -> Evaluation:
    """All tools; `progress(what, done, of)` is told of each. Figures are lines by tool."""
    if len(subjects.clips) < 2:
        raise UsageError("judging needs at least 2 clips")
    tools = {
        "animate": timed.judge_animate,
        "extend": judge_extend,
        "blend": judge_blend,
        "loop": judge_loop,
        "recut": judge_recut,
        "storyboard": timed.judge_storyboard,
        "remix": judge_remix,
        "controls": directing.judge_controls,
        "formats": formats.judge_formats,
        "fps": judge_fps,
        "post": lambda _: finishing.judge_post(),
        "speed": judge_speed,
    }
    lines, examples = {}, []
    for number, (name, judge) in enumerate(tools.items()):
        if progress:
            progress(name, number, len(tools))
        lines[name], shown = judge(subjects)
        examples += [
            Example(group=name, prompt=prompt, video=video) for prompt, video in shown[:SHOWN]
        ]
    if progress:
        progress("edits", len(tools), len(tools))
    return Evaluation(figures=lines, examples=tuple(examples))


def judge_extend(s: Subjects) -> tuple[Line, Shown]:
    """The path goes on where half of the clip is given: against text alone and a frozen frame."""
    videos, half = s.videos, s.half
    free = t2v.generate(s.engine, s.requests, s.settings)
    line: Line = {"limit_pixels": 2 * videos.shape[2] / 64}
    shown, good = [], True
    for direction, kept, far in (
        ("forward", slice(0, half), -1),
        ("backward", slice(half, None), 0),
    ):
        given = videos[:, kept]
        made = extend.extend(
            s.engine, given, s.requests, s.settings, num_new=half, direction=direction
        )
        frozen = np.repeat(given[:, [-1 if far else 0]], half, axis=1)
        naive = np.concatenate([given, frozen] if far else [frozen, given], axis=1)
        errors = {
            name: _path_error(found, videos, far, s)
            for name, found in (("error", made), ("ignoring", free), ("frozen", naive))
        }
        is_kept = bool(np.array_equal(made[:, kept], given))
        line[direction] = errors | {"kept_identical": is_kept}
        good &= errors["error"] < line["limit_pixels"] and is_kept
        good &= errors["error"] < min(errors["ignoring"], errors["frozen"]) / 2
        shown += s.shown(made)
    return {"ok": bool(good)} | line, shown


def judge_blend(s: Subjects):
    """From the first half of each clip to the second half of the next one, in twice that."""
    videos, half = s.videos, s.half
    num_new = 2 * half
    first, second = videos[:, :half], np.roll(videos, 1, axis=0)[:, half:]
    nothing = [Request(captions=(), seed=seed) for seed in range(len(videos))]
    made = blend.transition(
        s.engine, first, second, nothing, s.settings, num_new=num_new, curve=parse_curve("linear")
    )
    faded = _cross_fade(first, second, num_new)
    inside = _largest_step((first, second))
    middle = slice(half, half + num_new)
    line: Line = {
        "kept_identical": np.array_equal(made[:, :half], first)
        and np.array_equal(made[:, half + num_new :], second),
        "smooth": share(
            (seams.steps(made)[:, half - 1 : half + num_new].max(1) <= 1.5 * inside).tolist()
        ),
        "one_object": _one_object(made[:, middle], s),
        "one_object_cross_fade": _one_object(faded[:, middle], s),
        "limit_one_object": 0.8,
        "limit_smooth": 1.0,
    }
    good = line["kept_identical"] and line["one_object"] >= 0.8 and line["smooth"] == 1
    good &= line["one_object_cross_fade"] < 0.8  # or the count tells nothing
    return {"ok": bool(good)} | line, s.shown(made)


def judge_loop(s: Subjects):
    """Loops from prompts, against a clip whose first frame is put at its end."""
    requests = s.still_requests
    turned = loop.turned(s.engine, requests, s.settings)  # what was last in the window comes last
    made = loop.begin_at_rest(turned)
    # As many takes without a turned window: what choosing alone would do.
    plain = loop.smoothest(t2v.generate(s.engine, takes.of_each(requests), s.settings))
    repeated = np.concatenate([plain, plain[:, :1]], axis=1)

    def is_closed(videos):
        return seams.seam(videos) <= np.percentile(seams.steps(videos), 95, axis=1)

    def has_no_spike(videos):
        """Three times over, the way from its last frame to its first is no larger than others."""
        thrice = np.concatenate([videos] * 3, axis=1)
        return seams.steps(thrice).max(1) <= 1.05 * seams.steps(videos).max(1)

    line = {
        "closed": share(is_closed(made).tolist()),
        # Where a loop begins is chosen; what tells it from a clip is where its window ended.
        "no_spike": share(has_no_spike(turned).tolist()),
        "no_spike_without": share(has_no_spike(plain).tolist()),
        "limit_no_spike": 0.9,
        "no_double": share((seams.seam(made) > 0).tolist()),
        "no_double_repeated": share((seams.seam(repeated) > 0).tolist()),
        "limit_closed": 0.9,
    }
    good = line["closed"] >= 0.9 and line["no_double"] == 1 and line["no_double_repeated"] == 0
    good &= line["no_spike"] >= 0.9 and line["no_spike_without"] < 0.6
    return {"ok": bool(good)} | line, s.shown(made, [text for _, text in s.still])


def judge_recut(s: Subjects):
    """Both ends of each clip kept, and all between them generated."""
    videos = s.videos
    ends = videos[:, :CHUNK_FRAMES], videos[:, -CHUNK_FRAMES:]
    fill = videos.shape[1] - 2 * CHUNK_FRAMES
    made = recut.recut(s.engine, ends, s.requests, s.settings, num_fill=fill)
    inside = _largest_step(ends)
    middle = seams.steps(made)[:, CHUNK_FRAMES - 1 : -CHUNK_FRAMES + 1]
    line = {
        "kept_identical": np.array_equal(made[:, :CHUNK_FRAMES], ends[0])
        and np.array_equal(made[:, -CHUNK_FRAMES:], ends[1]),
        "frames": made.shape[1],
        "frames_wanted": videos.shape[1],
        "right": share([verdict.all for verdict in judge_all(made, s.scenes)]),
        "smooth": share((middle.max(1) <= 1.5 * inside).tolist()),
        "limit_right": 0.85,
        "limit_smooth": 0.85,
    }
    good = line["kept_identical"] and made.shape == videos.shape and line["smooth"] >= 0.85
    good &= line["right"] >= 0.85
    return {"ok": bool(good)} | line, s.shown(made)


def judge_remix(s: Subjects):
    """Another colour is asked for, from not at all to all the way; half a picture is kept."""
    videos, scenes = s.videos, [scene for scene, _ in s.recoloured]
    captions = [text for _, text in s.recoloured]
    requests = [
        dataclasses.replace(
            request, captions=(dataclasses.replace(request.captions[0], text=text),)
        )
        for request, text in zip(s.requests, captions, strict=True)
    ]

    def make(strength: float, keep=None):
        return remix.remix(s.engine, videos, requests, s.settings, strength=strength, keep=keep)

    own = s.engine.decode(s.engine.encode(videos))
    made = {strength: make(strength) for strength in STRENGTHS}
    distance = [float(np.mean(np.abs(made[x].astype(float) - own))) for x in STRENGTHS]
    mild = make(remix.STRENGTHS["mild"])
    changed = share([v.attributes["colour"] for v in judge_all(mild, scenes)])
    paths = zip(_paths(mild, s), _paths(videos, s), strict=True)
    found = [value for a, b in paths if (value := seams.agreement(a, b)) is not None]
    width = videos.shape[3]
    keep = np.broadcast_to(np.arange(width) < width // 2, videos.shape[2:4])
    masked = make(remix.STRENGTHS["strong"], keep)
    line: Line = {
        "distance_by_strength": dict(zip(map(str, STRENGTHS), distance, strict=True)),
        "spearman": seams.spearman(np.array(STRENGTHS), np.array(distance)),
        "limit_spearman": 0.95,
        "zero_is_reconstruction": bool(np.array_equal(made[0.0], own)),
        "one_is_text_to_video": bool(
            np.array_equal(made[1.0], t2v.generate(s.engine, requests, s.settings))
        ),
        "changed": changed,
        "limit_changed": 0.8,
        "path_correlation": float(np.nanmean(found)),
        "limit_path_correlation": 0.9,
        "outside_identical": np.array_equal(masked[:, :, keep], videos[:, :, keep]),
    }
    good = line["spearman"] >= 0.95 and line["zero_is_reconstruction"]
    good &= line["one_is_text_to_video"] and changed >= 0.8 and line["path_correlation"] >= 0.9
    good &= line["outside_identical"]
    return {"ok": bool(good)} | line, [
        (f"{clip.prompt} -> {text}", video)
        for clip, text, video in zip(s.clips, captions, mild, strict=True)
    ]


def judge_fps(s: Subjects):
    """Every other frame is left out and found again."""
    videos = s.videos
    given, left_out = videos[:, ::2], videos[:, 1:-1:2]
    places = np.arange(left_out.shape[1]) + 0.5
    found = np.stack([retime.at_places(video, places) for video in given])
    mixed = (given[:, :-1].astype(np.float64) + given[:, 1:]) / 2
    line = {
        "psnr": psnr(found, left_out),
        "psnr_blending": psnr(mixed.round().astype(np.uint8), left_out),
        "limit_gain": 3.0,
    }
    return {"ok": line["psnr"] >= line["psnr_blending"] + 3} | line, s.shown(found)


def judge_speed(s: Subjects):
    """A draft of few steps against the whole, and a tool against plain sampling."""
    draft = dataclasses.replace(s.settings, steps=max(s.settings.steps // DRAFT_SHARE, 1))
    count = min(8, len(s.clips))
    videos, requests = s.videos[:count], s.requests[:count]
    whole, quick, edited = _seconds(
        lambda: t2v.generate(s.engine, requests, s.settings),
        lambda: t2v.generate(s.engine, requests, draft),
        lambda: remix.remix(s.engine, videos, requests, s.settings, strength=0.8),
    )
    line = {
        "draft_times_faster": whole / quick,
        "limit_draft": 5.0,
        "tool_overhead": edited / whole - 1,
        "limit_tool_overhead": 0.1,
    }
    good = line["draft_times_faster"] >= 5 and line["tool_overhead"] < 0.1
    return {"ok": bool(good)} | line, []


def other_colour(scene: Scene) -> Scene:
    """The same scene with its object in another colour, which follows from the scene's seed."""
    item = scene.objects[0]
    free = [colour for colour in COLOURS if colour != item.colour]
    changed = dataclasses.replace(item, colour=free[scene.seed % len(free)])
    return dataclasses.replace(scene, objects=(changed,))


def _paths(videos: Video, s: Subjects) -> list[NDArray[np.float64]]:
    """Where the first object of each clip is, T 2, NaN where there is none."""
    level = s.clips[0].scene.level
    things = [read(video, level).things[0] for video in videos]
    return [np.stack([thing.x, thing.y], -1) for thing in things]


def _path_error(videos: Video, real: Video, frame: int, s: Subjects) -> float:
    """Median distance in pixels, in one frame, of the object from where it really is."""
    pairs = zip(_paths(videos, s), _paths(real, s), strict=True)
    return float(np.nanmedian([np.linalg.norm(a[frame] - b[frame]) for a, b in pairs]))


def _one_object(videos: Video, s: Subjects) -> float:
    level = s.clips[0].scene.level
    return share([bool((read(video, level).count == 1).all()) for video in videos])


def _largest_step(parts: Sequence[Video]) -> NDArray[np.float64]:
    """The largest step between frames inside of given parts, of each clip.

    A drawn scene that is still has steps of exactly 0, and no generated picture can be held to that
    in full: such clips count as not smooth.
    """
    return np.stack([seams.steps(part).max(1) for part in parts]).max(0)


def _cross_fade(first: Video, second: Video, num_new: int) -> Video:
    weight = ((np.arange(num_new) + 1) / (num_new + 1))[None, :, None, None, None]
    faded = (1 - weight) * first[:, -1:] + weight * second[:, :1]
    return np.concatenate([first, faded.round().astype(np.uint8), second], axis=1)


def _seconds(*works: Callable[[], Any], rounds: int = 8) -> list[float]:
    """The least time of each, by turns: what slows the machine for a while slows all alike."""
    found: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):  # the first round compiles
        for work, times in zip(works, found, strict=True):
            start = time.perf_counter()
            work()
            if number:
                times.append(time.perf_counter() - start)
    return [min(times) for times in found]
