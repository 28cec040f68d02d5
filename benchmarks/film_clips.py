"""Clips of a real film to train and to judge a video autoencoder on, at two sizes.

The film and two other clips are cut and filtered by the data pipeline; then the shots are dealt out
whole. Held out: every sixth shot of the film, and two clips of other cameras. The film's trailer
and its short excerpt show shots of it, so they are left out.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import data_film
from data_pipelines import local, real_clips, shards
from data_pipelines.records import ClipRecord
from sora_jax import media
from sora_jax.data import records
from sora_jax.data.schema import Caption, VideoRecord

FILM = "bbb.mp4"
TRAINED = (FILM, "carphone.mp4", "launch.webm", "freecol.ogg")
HELD_OUT = ("bikes.mp4", "city.mpg")
EVERY = 6  # of the film's shots, one is held out
FRAMES, SIZE, FPS = 16, 64, 24.0
CROPS = 8  # of 64x64, at random places, of each window at full scale and at half scale
CRF = 8  # of the clips that are stored

type Videos = NDArray[np.uint8]


def prepare(directory: Path, tell: Any = lambda line: None) -> list[str]:
    """Shards `clips` (train, heldout: 64x64) and `clips_128` (heldout: 128x128) in `directory`.

    Gives what could not be fetched.
    """
    samples = directory / "samples"
    problems = real_clips.fetch(samples, tell)
    outcome = local.run(
        [samples],
        directory / "pipeline",
        data_film.CONFIG,
        processes=os.cpu_count() or 1,
        progress=tell,
    )
    train, heldout = deal(outcome.records)
    work = directory / "pipeline" / "work"
    names = "-".join(record.id for record in [*train, *heldout])
    mark = f"{FRAMES} {SIZE} {CROPS} {CRF} {names}"
    held = [(record, window) for record in heldout for window in windows(record, work)]
    shards.write(
        directory / "clips",
        {
            "train": _stored(training_crops(train, work)),
            "heldout": _stored((r, i, centre(shrunk(w), SIZE)) for i, (r, w) in enumerate(held)),
        },
        fingerprint=mark,
    )
    shards.write(
        directory / "clips_128",
        {"train": _stored((r, i, centre(w, 2 * SIZE)) for i, (r, w) in enumerate(held))},
        fingerprint=mark,
    )
    return problems


def load(directory: Path, split: str, most: int | None = None) -> Videos:
    """Clips of a split, N T H W 3; at most `most`, evenly spread over it."""
    source = records.open_split(directory, split)
    count = len(source) if most is None else min(most, len(source))
    chosen = np.linspace(0, len(source) - 1, count).astype(int)
    return np.stack([records.decode(source[int(i)]) for i in chosen])


def deal(clips: Sequence[ClipRecord]) -> tuple[list[ClipRecord], list[ClipRecord]]:
    """Kept clips to train on and held out, shot by shot; pieces of one shot stay together."""
    train, heldout = [], []
    shot = 0
    for record in sorted(clips, key=lambda r: (r.source, r.span or (0.0, 0.0))):
        if record.source == FILM and record.cuts is not None and record.cuts[0] != "length":
            shot += 1
        if record.is_rejected or record.media is None:
            continue
        if record.source in HELD_OUT or (record.source == FILM and shot % EVERY == 0):
            heldout.append(record)
        elif record.source in TRAINED:
            train.append(record)
    return train, heldout


def windows(record: ClipRecord, work: Path) -> Iterator[Videos]:
    """Windows of FRAMES frames, one after the other, T H W 3."""
    assert record.media is not None
    video, _ = media.read_video(work / record.media.path)
    for start in range(0, len(video) - FRAMES + 1, FRAMES):
        yield video[start : start + FRAMES]


def training_crops(
    clips: Sequence[ClipRecord], work: Path
) -> Iterator[tuple[ClipRecord, int, Videos]]:
    """Crops at random places: CROPS of each window as it is, CROPS of it at half the size.

    At half the size there is one row of places, so the crops overlap more.
    """
    rng = np.random.default_rng(0)
    number = 0
    for record in clips:
        for window in windows(record, work):
            for video in (window, shrunk(window)):
                for _ in range(CROPS):
                    rows, columns = (side - SIZE + 1 for side in video.shape[1:3])
                    y, x = rng.integers(rows), rng.integers(columns)
                    yield record, number, video[:, y : y + SIZE, x : x + SIZE]
                    number += 1


def shrunk(video: Videos) -> Videos:
    """At half the size, each pixel the mean of four."""
    height, width = (side // 2 for side in video.shape[1:3])
    frames = [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in video]
    return np.stack(frames).astype(np.uint8)


def centre(video: Videos, size: int) -> Videos:
    """The square in the middle."""
    top, left = ((side - size) // 2 for side in video.shape[1:3])
    return video[:, top : top + size, left : left + size]


def _stored(clips: Any) -> Iterator[VideoRecord]:
    for record, number, video in clips:
        yield VideoRecord(
            id=f"{record.id}-{number}",
            video=media.encode_mp4(video, FPS, crf=CRF),
            captions=(Caption(record.captions[0].text, 0.0, len(video) / FPS),),
            fps=FPS,
            num_frames=len(video),
            height=video.shape[1],
            width=video.shape[2],
            source=record.source,
            licence=record.licence,
        )
