"""Any format, judged: eight aspect ratios sampled as they are, and a minute, window by window."""

from pathlib import Path

import numpy as np

from sora_jax.errors import UsageError
from sora_jax.eval.intervals import share
from sora_jax.eval.scores import judge_all
from sora_jax.eval.subjects import Line, Shown, Subjects
from sora_jax.export.sampling import CHUNK_FRAMES
from sora_jax.generate import engine, t2v
from sora_jax.generate.engine import Video
from sora_jax.generate.request import make_settings, token_grid

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21", "3:2")
CLIPS, LONG_CLIPS = 32, 4  # of each ratio; of a minute
SHORT, LONG, TAIL = 10, 60, 5  # seconds
MAX_LOSS, MIN_TAIL, MAX_MEMORY, MAX_DRIFT = 0.05, 0.8, 1.1, 8.0


def judge_formats(s: Subjects) -> tuple[Line, Shown]:
    """Rates of whole clips by ratio against the square's; frames, memory and colour of a minute.

    `programs` is how many sampling programs the ratios took, `row_lengths` how many different
    numbers of tokens they have. Sides are the multiples of a latent nearest to the ratio at the
    square's area.
    """
    side, unit = s.settings.size[0], s.engine.model.vae.spatial
    clips, requests = s.scenes[:CLIPS], s.requests[:CLIPS]
    before = engine.num_programs()
    rates, lengths, shown = {}, set(), []
    for ratio in RATIOS:
        settings = make_settings(
            s.engine.model, s.settings, size=find_size(ratio, side * side, unit)
        )
        lengths.add(int(np.prod(token_grid(s.engine.model, settings))))
        made = t2v.generate(s.engine, requests, settings)
        height, width = settings.size
        rates[f"{ratio} ({width}x{height})"] = share([v.all for v in judge_all(made, clips)])
        if ratio in ("16:9", "9:16", "21:9", "4:3"):
            shown.append((f"{ratio}: {s.clips[0].prompt}", made[0]))
    programs = engine.num_programs() - before
    square, *others = rates.values()
    line: Line = {
        "right": rates,
        "limit_loss": MAX_LOSS,
        "programs": programs,
        "row_lengths": len(lengths),
        "minute": _judge_minute(s),
    }
    minute = line["minute"]
    good = min(others) >= square - MAX_LOSS and programs <= len(lengths)
    good &= minute["frames"] == minute["frames_wanted"] and minute["memory_ratio"] <= MAX_MEMORY
    good &= minute["right_at_the_end"] >= MIN_TAIL and minute["colour_drift"] <= MAX_DRIFT
    return {"ok": bool(good)} | line, shown


def find_size(ratio: str, area: int, unit: int) -> tuple[int, int]:
    """(height, width) of about `area` pixels, multiples of `unit`, nearest to width:height.

    Raises UsageError for what is no ratio.
    """
    try:
        across, down = (float(part) for part in ratio.split(":"))
        wanted = np.log(across / down)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"ratio {ratio!r} is not WIDTH:HEIGHT, as 16:9") from error
    most = int(2 * np.sqrt(area)) // unit
    sizes = [(h * unit, w * unit) for h in range(1, most + 1) for w in range(1, most + 1)]
    near = [size for size in sizes if abs(np.log(size[0] * size[1] / area)) < 0.35]
    return min(near, key=lambda size: abs(np.log(size[1] / size[0]) - wanted))


def _judge_minute(s: Subjects) -> Line:
    """A minute of still scenes, made window by window."""
    fps, scenes = s.settings.fps, [scene for scene, _ in s.still[:LONG_CLIPS]]
    requests = s.still_requests[:LONG_CLIPS]

    def make(seconds: int) -> Video:
        count = int(seconds * fps) // CHUNK_FRAMES * CHUNK_FRAMES
        return t2v.generate(s.engine, requests, s.settings, num_frames=count)

    make(SHORT)
    short = _resident()
    video = make(LONG)
    long = _resident()
    tail = int(TAIL * fps)
    drift = np.abs(
        video[:, :tail].mean((1, 2, 3), dtype=float) - video[:, -tail:].mean((1, 2, 3), dtype=float)
    )
    return {
        "frames": video.shape[1],
        "frames_wanted": int(LONG * fps),
        "memory_ratio": long / short,
        "limit_memory_ratio": MAX_MEMORY,
        "right_at_the_end": share(
            [
                all(verdict.attributes[key] for key in ("colour", "shape", "background"))
                for verdict in judge_all(video[:, -tail:], scenes)
            ]
        ),
        "limit_right_at_the_end": MIN_TAIL,
        "colour_drift": float(drift.max()),
        "limit_colour_drift": MAX_DRIFT,
    }


def _resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
