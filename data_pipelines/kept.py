"""The stage `write`: clips that were kept become training records, and those become shards.

Ids are hashes of content, so their order is the same whoever made the clips, and it mixes the
sources. Every runner ends here, so that all give the same bytes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipelines import shards
from data_pipelines.records import ClipRecord
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import RunError, UsageError

TRAIN, HELDOUT = "train", "heldout"


def write_kept(
    directory: str | Path,
    kept: Iterable[ClipRecord],
    workdir: str | Path,
    *,
    heldout_share: float = 0.02,
    fingerprint: str = "",
    settings: Mapping[str, Any] | None = None,
    progress: shards.Progress | None = None,
) -> dict[str, int]:
    """Write the clips that are not rejected as shards; the number of records of each split.

    `kept` may come in any order and with rejected ones among them; cut files are found below
    `workdir`. Splits are `train` and `heldout`: about `heldout_share` of the clips, drawn by their
    ids, and at least one of two or more unless the share is 0. Raises UsageError if no clip is
    kept, RunError for a cut file that is gone or is not the one that was cut, and as
    `shards.write` does.
    """
    found = sorted((clip for clip in kept if not clip.is_rejected), key=lambda clip: clip.id)
    if not found:
        raise UsageError(
            "no clip is kept, so there are no shards to write; see the reasons in the report"
        )
    splits = split_clips(found, heldout_share)
    shards.write(
        directory,
        {
            name: (to_video_record(clip, workdir) for clip in clips)
            for name, clips in splits.items()
        },
        fingerprint=fingerprint,
        settings=settings,
        progress=progress,
    )
    return {name: len(clips) for name, clips in splits.items()}


def split_clips(clips: Iterable[ClipRecord], heldout_share: float) -> dict[str, list[ClipRecord]]:
    """`train` and, if it has any, `heldout`: a clip's id says to which it belongs."""
    if not 0 <= heldout_share < 1:
        raise UsageError(f"heldout_share is {heldout_share}; it must be in [0, 1)")
    clips = list(clips)
    draws = {clip.id: _draw(clip.id) for clip in clips}
    limit = heldout_share
    if heldout_share and len(clips) > 1:
        limit = max(limit, min(draws.values()) + 2**-53)
    heldout = [clip for clip in clips if draws[clip.id] < limit]
    train = [clip for clip in clips if draws[clip.id] >= limit]
    if not train:  # of very few clips all may be drawn
        train, heldout = heldout, []
    return {TRAIN: train} | ({HELDOUT: heldout} if heldout else {})


def to_video_record(clip: ClipRecord, workdir: str | Path) -> VideoRecord:
    """The training record of a clip that has been cut and captioned.

    The mp4 is the cut file as it is. `extra` says where it came from: the source's SHA-256, the
    span, how the shot begins and ends, the crop and the perceptual hashes.
    """
    if clip.media is None or not clip.captions:
        missing = "cut" if clip.media is None else "captioned"
        raise UsageError(f"clip {clip.id} of {clip.source} has not been {missing}; run that stage")
    path = Path(workdir) / clip.media.path
    try:
        video = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"cut clip {path} of {clip.source} can't be read ({error.strerror}); run the same"
            " command again"
        ) from error
    if hashlib.sha256(video).hexdigest() != clip.media.sha256:
        raise RunError(
            f"cut clip {path} of {clip.source} is not the file that was cut (its SHA-256 differs);"
            " delete it and run the same command again"
        )
    origin = {
        "source_sha256": clip.source_sha256,
        "span": clip.span,
        "cuts": clip.cuts,
        "crop": clip.media.crop,
        "hashes": clip.hashes,
    }
    return VideoRecord(
        id=clip.id,
        captions=clip.captions,
        fps=clip.media.fps,
        num_frames=clip.media.num_frames,
        height=clip.media.height,
        width=clip.media.width,
        video=video,
        scores=clip.scores,
        source=clip.source,
        licence=clip.licence,
        extra={**clip.extra, "origin": origin},
    )


def _draw(clip_id: str) -> float:
    """A number in [0, 1) that depends on an id alone."""
    digest = hashlib.sha256(f"heldout {clip_id}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
