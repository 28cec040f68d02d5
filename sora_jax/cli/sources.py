"""Where the clips of a run come from: one field, `data.source`, of the config.

    toyworld    rendered: the level whose clips have the config's size, length and rate
    physics     simulated and rendered by MuJoCo
    DIR         shards (a directory with MANIFEST.json), or a folder of NAME.mp4 + NAME.txt

Whatever it is, it becomes shards of one geometry in the run directory.
"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from data_pipelines import conform, folder, shards
from data_pipelines.physics import records as physics
from data_pipelines.toyworld import records as world
from sora_jax.cli import progress
from sora_jax.cli.experiment import DataConfig
from sora_jax.data import index
from sora_jax.data.scene import find_level
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import UsageError

TOYWORLD, PHYSICS, SHARDS, FOLDER = "toyworld", "physics", "shards", "folder"
# Clips from which on other processes help: starting them takes seconds.
_WORTH_WORKERS = {TOYWORLD: 2000, PHYSICS: 64}

type Splits = Mapping[str, Iterable[VideoRecord]]
type Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class ClipSource:
    """Clips that have not been made yet."""

    kind: str
    fingerprint: str
    """Changes when the clips would."""
    is_given: bool
    """Whether they are made from somebody's files, which may change or go."""
    open: Callable[[], tuple[Splits, int]]
    """The splits, and about how many clips they have in all."""


def find_kind(source: str) -> str:
    """What `data.source` stands for. Raises UsageError if there is no such thing."""
    if source in (TOYWORLD, PHYSICS):
        return source
    if index.is_shards(source):
        return SHARDS
    if source and Path(source).is_dir():
        return FOLDER
    raise UsageError(
        f"data.source is {source!r}; it must be toyworld, physics, or a directory of shards or of"
        " NAME.mp4 each with its caption in NAME.txt"
    )


def find_source(cfg: DataConfig, report: Report, *, needs_captions: bool = True) -> ClipSource:
    """The source that a config names, looked at but not opened.

    `report` is told of clips that are left out. Without `needs_captions` a folder's videos may lack
    theirs. Raises UsageError for a source that is none, is
    not whole, or can't give clips of the config's geometry.
    """
    kind = find_kind(cfg.source)
    form = folder.ClipFormat(size=cfg.size, num_frames=cfg.num_frames, fps=cfg.fps)
    # Not the packing, which is done with the clips afterwards.
    facts = [kind, cfg.num_train, cfg.num_test, form, cfg.max_windows]
    if kind == TOYWORLD:
        level = find_level(cfg.size, cfg.num_frames, cfg.fps)
        counts = {"train": cfg.num_train, "seen": cfg.num_test, "heldout": cfg.num_test}
        make = functools.partial(world.make_record, level)
    elif kind == PHYSICS:
        clips = physics.PhysicsFormat(size=cfg.size, num_frames=cfg.num_frames, fps=cfg.fps)
        facts.append(physics.describe(clips))
        counts = {"train": cfg.num_train, "heldout": cfg.num_test}
        make = functools.partial(physics.make_record, clips)
    elif kind == SHARDS:
        manifest = Path(cfg.source) / index.MANIFEST
        facts.append(hashlib.sha256(manifest.read_bytes()).hexdigest())
        open_splits = functools.partial(_from_shards, cfg, form, report)
        return ClipSource(kind, repr(facts), True, open_splits)
    else:
        facts.append(folder.contents(cfg.source))
        open_folder = functools.partial(_from_folder, cfg, form, needs_captions)
        return ClipSource(kind, repr(facts), True, open_folder)
    workers = 2 if sum(counts.values()) > _WORTH_WORKERS[kind] else 0
    return ClipSource(kind, repr(facts), False, functools.partial(_render, make, counts, workers))


def write_clips(cfg: DataConfig, directory: Path, *, needs_captions: bool = True) -> None:
    """Shards of a run's clips: train, heldout if there is any and, of the toy world, seen.

    Nothing is done if they are there. Raises UsageError as `find_source` does, and if the run was
    begun with other files than the source holds now.
    """
    with progress.bar("writing clips", None) as bar:
        report = functools.partial(bar.write, file=sys.stderr)
        source = find_source(cfg, report, needs_captions=needs_captions)
        if shards.is_complete(directory, source.fingerprint):
            return
        if source.is_given and directory.exists():
            raise UsageError(
                f"files in {cfg.source} are not those that {directory.parent} was begun with; "
                "put them back, or name another --workdir"
            )
        splits, count = source.open()
        bar.reset(count)
        shards.write(
            directory,
            splits,
            fingerprint=source.fingerprint,
            settings={"source": cfg.source, "kind": source.kind},
            progress=lambda *_: bar.update(),
        )


def _render(
    make: Callable[[str, int], VideoRecord], counts: Mapping[str, int], workers: int
) -> tuple[Splits, int]:
    splits = {
        split: shards.rendered(functools.partial(make, split), count, workers=workers)
        for split, count in counts.items()
    }
    return splits, sum(counts.values())


def _from_folder(
    cfg: DataConfig, form: folder.ClipFormat, needs_captions: bool
) -> tuple[Splits, int]:
    found = folder.folder_records(
        cfg.source, form, max_windows=cfg.max_windows, needs_captions=needs_captions
    )
    return {name: clips for name, clips in folder.split(found).items() if clips}, len(found)


def _from_shards(cfg: DataConfig, form: folder.ClipFormat, report: Report) -> tuple[Splits, int]:
    found = conform.check_has_videos(cfg.source)
    counts = {
        name: conform.count_windows(split, form, cfg.max_windows)
        for name, split in found.splits.items()
    }
    if not counts["train"]:
        raise UsageError(
            f"no clip of {cfg.source} lasts the {form.seconds:.2f} s that data.num_frames "
            f"{cfg.num_frames} at data.fps {cfg.fps:g} need; lower data.num_frames"
        )
    splits = {
        name: conform.conform(cfg.source, name, form, max_windows=cfg.max_windows, report=report)
        for name, count in counts.items()
        if count
    }
    return splits, sum(counts.values())
