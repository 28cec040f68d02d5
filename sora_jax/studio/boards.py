"""Storyboards as files: YAML or JSON in, a video or a preview of its cards out.

    seconds: 4
    cards:
      - {time: 0, prompt: a red circle moves left on a white background}
      - {time: 2, prompt: a blue square grows on a black background, transition: cut}

A card has a `time` in seconds and a `prompt`, an `image` or a `video` (paths beside the board), or
a prompt and one of them. Its `transition` is "continue" (the default) or "cut".
"""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sora_jax import media, sheets
from sora_jax.errors import UsageError
from sora_jax.generate import fit
from sora_jax.generate import storyboard as storyboard_tool
from sora_jax.generate.request import count_frames
from sora_jax.generate.storyboard import Card
from sora_jax.studio.job import Job
from sora_jax.studio.record import tool
from sora_jax.studio.timeline import Segment

PREVIEW_SHARE = 8  # a preview takes one step for so many of the whole
_BOARD, _CARD = ("seconds", "cards"), ("time", "prompt", "image", "video", "transition")
_TRANSITIONS = ("continue", "cut")


@tool
def storyboard(
    model: str,
    board: str | Path,
    out: str | Path,
    *,
    is_preview: bool = False,
    timeline: str | Path | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Make the video of a board; as a preview, a sheet of one frame a card, of a few quick steps.

    `timeline` is written with the video, a segment a card. `wishes` are those of `Job`.
    """
    if is_preview and timeline is not None:
        raise UsageError("a preview makes no video that a timeline could name; leave one of them")
    content = _read(Path(board))
    job = Job(model, None, out, wishes)
    job.plan_timeline(timeline)
    job.take(board)
    settings = job.settings
    num_frames = count_frames(content["seconds"], settings.fps)
    folder = Path(board).parent
    cards = [_card(job, folder, number, card) for number, card in enumerate(content["cards"], 1)]
    places = storyboard_tool.key_frames(cards, settings, num_frames)
    if is_preview:
        settings = dataclasses.replace(settings, steps=max(settings.steps // PREVIEW_SHARE, 2))
    video = storyboard_tool.render(
        job.engine(),
        cards,
        settings,
        num_frames=num_frames,
        negative=job.request.negative,
        seed=job.request.seed,
    )[0]
    titles = [f"{card.time:g} s  {card.prompt}" for card in cards]
    if not is_preview:
        facts = job.write_timeline(_segments(job, cards, num_frames))
        return job.finish(video, cards=titles, **facts)
    sheet = job.out.with_suffix(".png")
    media.write_png(
        sheet, sheets.contact_sheet([video[place : place + 1] for place in places], titles)
    )
    return {"contact_sheet": str(sheet), "cards": titles, "notes": job.notes}


def _segments(job: Job, cards: Sequence[Card], num_frames: int) -> list[Segment]:
    starts = [0, *(round(card.time * job.settings.fps) for card in cards[1:])]
    return [
        Segment(
            name=f"{number} card", path=job.out, start=start, count=end - start, note=card.prompt
        )
        for number, (card, start, end) in enumerate(
            zip(cards, starts, [*starts[1:], num_frames], strict=True), 1
        )
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no board {path}; name a YAML or JSON file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    _check_keys(path.name, content, _BOARD)
    cards = content.get("cards")
    if not isinstance(cards, list) or not cards:
        raise UsageError(f"{path.name} has no cards; give it a list of at least one")
    if not isinstance(content.get("seconds"), int | float):
        raise UsageError(f"{path.name} has no seconds; say how long the video is")
    return content


def _card(job: Job, folder: Path, number: int, fields: Any) -> Card:
    name = f"card {number}"
    _check_keys(name, fields, _CARD)
    time, prompt = fields.get("time"), fields.get("prompt", "")
    if not isinstance(time, int | float) or not isinstance(prompt, str):
        raise UsageError(f"{name} needs a time in seconds, and its prompt must be text")
    transition = fields.get("transition", _TRANSITIONS[0])
    if transition not in _TRANSITIONS:
        raise UsageError(f"{name} has transition {transition!r}; use {' or '.join(_TRANSITIONS)}")
    if "image" in fields and "video" in fields:
        raise UsageError(f"{name} has an image and a video; give it one of them")
    frames = None
    if "image" in fields:
        image = job.read_image(folder / fields["image"])[None]
        image, note = fit.fit_size(image, job.settings.size)
        job.note(note)
        frames = fit.hold(image[0])
    elif "video" in fields:
        frames = job.read(folder / fields["video"])
    elif not prompt.strip():
        raise UsageError(f"{name} shows nothing; give it a prompt, an image or a video")
    return Card(time=time, prompt=prompt.strip(), frames=frames, is_cut=transition == "cut")


def _check_keys(name: str, found: Any, known: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise UsageError(f"{name} must have fields ({', '.join(known)}), such as {known[0]}: 2")
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            raise UsageError(f"{name} has no field {key!r}; {hint}")
