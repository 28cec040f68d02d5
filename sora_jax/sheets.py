"""Contact sheets: clips as rows of still frames, with captions and marks."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sora_jax import media
from sora_jax.errors import UsageError
from sora_jax.media import Frame, Frames


def contact_sheet(
    videos: Sequence[Frames],
    captions: Sequence[str] | None = None,
    marks: Sequence[bool | None] | None = None,
    *,
    frames: int = 8,
    cell: int = 96,
) -> Frame:
    """One row of evenly spaced frames a clip, its caption above it, and a right or wrong mark.

    Clips may differ in size and length; each frame is scaled by a whole factor to at least about
    `cell` pixels of height. A mark is a green (True) or red (False) bar; None draws none.
    """
    if not len(videos):
        raise UsageError("a contact sheet needs at least one clip; got none")
    rows = [_sheet_row(media.check_frames(video), frames, cell) for video in videos]
    width = max(row.shape[1] for row in rows)
    blocks = []
    for i, row in enumerate(rows):
        caption = captions[i] if captions else ""
        mark = marks[i] if marks else None
        if caption or mark is not None:
            blocks.append(_sheet_caption(caption, mark, width))
        blocks.append(np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255))
    return np.concatenate(blocks)


def _sheet_row(video: Frames, count: int, cell: int) -> Frame:
    picks = np.linspace(0, len(video) - 1, min(count, len(video))).round().astype(int)
    factor = max(1, round(cell / video.shape[1]))
    shown = video[picks].repeat(factor, axis=1).repeat(factor, axis=2)
    shown = np.pad(shown, ((0, 0), (0, 0), (0, 3), (0, 0)), constant_values=255)
    return np.concatenate(list(shown), axis=1)


def _sheet_caption(caption: str, mark: bool | None, width: int) -> Frame:
    font = ImageFont.load_default(size=14)
    left, line_height = 12, 19
    lines, line = [], ""
    for word in caption.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width - left - 4:
            lines.append(line)
            longer = word
        line = longer
    lines.append(line)
    block = Image.new("RGB", (width, line_height * len(lines)), "white")
    draw = ImageDraw.Draw(block)
    for i, text in enumerate(lines):
        draw.text((left, i * line_height + 1), text, fill="black", font=font)
    if mark is not None:
        draw.rectangle((0, 1, 7, block.height - 2), fill="#1a9a3c" if mark else "#d02020")
    return np.asarray(block)
