"""Judging an autoencoder: which clips, which linear codec, and where the report goes."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_pipelines import conform, folder
from data_pipelines.toyworld.records import make_record
from sora_jax.cli import progress, sources, vae_features
from sora_jax.data import index, records
from sora_jax.data.scene import find_level
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import LimitError, UsageError
from sora_jax.eval.autoencoder import PinnedClips, evaluate_vae
from sora_jax.eval.running import Evaluation, count_params
from sora_jax.export.bundle import VAEBundle
from sora_jax.generate.codec import Codec, check_size
from sora_jax.train import vae_run

CLIPS = 64  # that are judged unless it is said otherwise
MAX_PIXELS = 2**29  # of the clips that are judged, which are held in memory
TRAIN, HELDOUT = "train", "heldout"


def judge(
    bundle: VAEBundle,
    form: folder.ClipFormat,
    source: str,
    n: int,
    *,
    lpips: str | None = None,
) -> tuple[Evaluation, list[str]]:
    """Figures of `n` held-out clips of a source (as `data.source`), or of as many as it has.

    The linear codec is fitted on clips of the split `train`; where there are none, on those that
    are judged, which flatters it. `lpips` is a file of LPIPS-VGG's weights. The notes say what is
    not measured.
    """
    check_size(bundle.vae, form.size)
    if n * form.num_frames * form.size[0] * form.size[1] > MAX_PIXELS:
        raise LimitError(
            f"{n} clips of {form.num_frames} frames of {form.size[1]}x{form.size[0]} are more than "
            f"{MAX_PIXELS} pixels; lower --n"
        )
    features, notes = vae_features.find(form.size, lpips)
    with progress.stages("judging") as tell:
        splits = _splits(source, form)
        name = HELDOUT if HELDOUT in splits else TRAIN
        clips = _pinned(source, name, splits[name], form, n, tell)
        limit = vae_run.linear_limit(clips.videos.shape[1:])
        train = splits[TRAIN] if name != TRAIN else []
        fitted = [
            records.decode(r) for r in _counted(itertools.islice(train, limit), limit, "fit", tell)
        ]
        found = evaluate_vae(Codec.of(bundle), clips, features=features, progress=tell)
    codec = vae_run.linear_codec(bundle.vae, np.stack(fitted) if fitted else clips.videos)
    found.figures["vae"] |= {
        "linear_psnr": vae_run.linear_psnr(bundle.vae, codec, clips.videos),
        "linear_fitted_on": f"{len(fitted)} clips of {TRAIN}" if fitted else "the clips judged",
        "compression": bundle.vae.patch_values / bundle.vae.channels,
        "params": count_params(bundle.params),
    }
    return found, notes


def own_clips(model: str | Path) -> str:
    """The clips that a run was made from, where they are at hand, else the toy world."""
    data = Path(model) / "data"
    return str(data) if index.is_shards(data) else sources.TOYWORLD


def _splits(source: str, form: folder.ClipFormat) -> dict[str, Iterable[VideoRecord]]:
    """Clips of a source in `form`, by split, read one by one."""
    kind = sources.find_kind(source)
    if kind == sources.TOYWORLD:
        level = find_level(form.size, form.num_frames, form.fps)
        return {
            split: (make_record(level, split, i) for i in itertools.count())
            for split in (TRAIN, HELDOUT)
        }
    if kind == sources.SHARDS:
        found = index.read_index(source).splits
        return {
            split: conform.conform(source, split, form)
            for split in (TRAIN, HELDOUT)
            if split in found
        }
    if kind == sources.FOLDER:
        return {TRAIN: folder.folder_records(source, form, needs_captions=False)}
    raise UsageError(f"--data {source} is not for this suite; name shards, a folder or toyworld")


def _pinned(
    source: str,
    split: str,
    found: Iterable[VideoRecord],
    form: folder.ClipFormat,
    n: int,
    tell: progress.Progress,
) -> PinnedClips:
    """The first clips of a split."""
    chosen = list(_counted(itertools.islice(found, n), n, "clips", tell))
    if not chosen:
        raise UsageError(
            f"no clip of {source} ({split}) lasts the {form.seconds:.2f} s that the model's clips "
            f"have ({form.num_frames} frames at {form.fps:g}); name other --data"
        )
    return PinnedClips(
        source=source,
        split=split,
        fps=form.fps,
        ids=tuple(record.id for record in chosen),
        videos=np.stack([records.decode(record) for record in chosen]),
    )


def _counted[T](items: Iterable[T], total: int, title: str, tell: progress.Progress) -> Iterator[T]:
    for i, item in enumerate(items, 1):
        tell(title, i, total)
        yield item
