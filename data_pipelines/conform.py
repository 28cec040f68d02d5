"""Clips of shards, of any shapes, brought to one form: for a training of one geometry."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data_pipelines.folder import ClipFormat, cut_windows, fit
from sora_jax import media
from sora_jax.data import index, records
from sora_jax.data.index import SplitIndex
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError


def count_windows(split: SplitIndex, form: ClipFormat, max_windows: int) -> int:
    """About how many clips `conform` gives: rates that do not divide may give one more or less."""
    frames = np.floor(split.num_frames * (form.fps / split.fps) + 1e-6)
    return int(np.minimum(frames // form.num_frames, max_windows).sum())


def conform(
    directory: str | Path,
    split: str,
    form: ClipFormat,
    *,
    max_windows: int = 8,
    report: Callable[[str], None] | None = None,
) -> Iterator[VideoRecord]:
    """The clips of a split as windows of `form`, up to `max_windows` of each.

    Frames are taken at the form's rate, cropped at the centre to its aspect ratio and brought to
    its size. Windows do not overlap and are spread evenly; timed captions move with them. A record
    that has the form already stays as it is. `report` is told of each record that is too short.
    Raises UsageError for a record that is damaged or holds latents.
    """
    source = records.open_split(directory, split)
    for i in range(len(source)):
        record = source[i]
        if record.video is None:
            raise UsageError(
                f"record {record.id!r} of {directory} holds latents only; name shards with videos"
            )
        if record.shape == (form.num_frames, *form.size) and record.fps == form.fps:
            yield record
            continue
        frames = [
            fit(frame, form.size) for frame in media.stream_frames(record.video, fps=form.fps)
        ]
        if len(frames) < form.num_frames:
            if report is not None:
                have = record.num_frames / record.fps
                report(f"left out {record.id}: {have:.2f} s, clips need {form.seconds:.2f} s")
            continue
        yield from cut_windows(record, np.stack(frames), form, max_windows)


def check_has_videos(directory: str | Path) -> index.ShardIndex:
    """The index of shards to train on. UsageError if they have no split `train` of videos."""
    found = index.read_index(directory)
    train = found.split("train")
    if train.has_latents.any():
        raise UsageError(
            f"{directory} holds latents of an autoencoder; name the shards with videos that they "
            "were made from"
        )
    return found
