"""The offline pipeline as data: its settings, its steps in order, and how one record passes one.

Runners (local.py, beam.py) bring records to steps; what a step does is the same in all of them.
"""

import dataclasses
import importlib.util
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from data_pipelines import records
from data_pipelines.records import ClipRecord, Stage
from data_pipelines.stages.caption import CaptionConfig, CaptionStage
from data_pipelines.stages.clip import Clip, ClipConfig
from data_pipelines.stages.decide import Decide, Thresholds
from data_pipelines.stages.dedup import (
    DedupConfig,
    Fingerprint,
    distinct_files,
    mark_duplicates,
)
from data_pipelines.stages.ingest import MEDIA_SUFFIXES, Ingest, IngestConfig
from data_pipelines.stages.score import Score, ScoreConfig
from data_pipelines.stages.shots import Shots, ShotsConfig
from sora_jax.errors import LimitError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Every setting of a run, by stage. `heldout_share` of the clips make the split `heldout`."""

    ingest: IngestConfig = IngestConfig()
    shots: ShotsConfig = ShotsConfig()
    clip: ClipConfig = ClipConfig()
    score: ScoreConfig = ScoreConfig()
    dedup: DedupConfig = DedupConfig()
    decide: Thresholds = Thresholds()
    caption: CaptionConfig = CaptionConfig()
    heldout_share: float = 0.02


@dataclasses.dataclass(frozen=True)
class Whole:
    """A step that needs all records at once, to compare them."""

    name: str
    function: Callable[[list[ClipRecord]], list[ClipRecord]]


type Step = Stage | Whole

# What a file that a stage can't work on is counted as.
_REASONS = {"caption": "bad_caption"}


def steps(config: PipelineConfig, workdir: Path, key: str = "") -> list[Step]:
    """The steps in order; cut clips and answers of endpoints are kept below `workdir`."""
    directory = str(workdir)
    return [
        Ingest(config.ingest),
        Whole("distinct", distinct_files),
        Shots(config.shots),
        Clip(config.clip, directory),
        Score(config.score, directory),
        Fingerprint(directory),
        Whole("dedup", lambda found: mark_duplicates(found, config.dedup)),
        Decide(config.decide),
        CaptionStage(config.caption, directory, key),
    ]


def check_packages(config: PipelineConfig) -> None:
    """Raise UsageError if a package that the stages need is missing, before anything is done."""
    wanted = ["scenedetect", *(["rapidocr", "onnxruntime"] if config.score.text_frames else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the data pipeline needs {', '.join(missing)}; run launch/setup.sh"
            " requirements-data.lock or pip install 'sora_jax[data]'"
        )


def apply(stage: Stage, record: ClipRecord) -> list[ClipRecord]:
    """What a stage makes of a record; a file that it can't work on becomes a rejected record.

    Rejected records pass untouched, so that in the end each one is there with its reason.
    """
    if record.is_rejected:
        return [record]
    try:
        return stage(record)
    except LimitError as error:
        return [record.reject("over_limit", _told(error, record))]
    except UsageError as error:
        return [record.reject(_REASONS.get(stage.name, "unreadable"), _told(error, record))]


def seeds(sources: Sequence[str | Path]) -> list[ClipRecord]:
    """Records of all media files in folders (and below) and of files that are named, by name.

    Raises UsageError for a source that does not exist or is an address, and if none has a file.
    """
    found: dict[Path, ClipRecord] = {}
    for source in sources:
        if "://" in str(source):
            raise UsageError(f"{source} is a URL; download it first and name the file")
        path = Path(source)
        if path.is_file():
            found[path.resolve()] = records.seed(path, path.parent)
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and file.suffix.lower() in MEDIA_SUFFIXES:
                    found.setdefault(file.resolve(), records.seed(file, path))
        else:
            raise UsageError(f"no file or folder {source}; check the name")
    if not found:
        raise UsageError(f"no video or image in {', '.join(map(str, sources))}; name other folders")
    ordered = sorted(found.values(), key=lambda record: record.source)
    for one, other in itertools.pairwise(ordered):
        if one.source == other.source:
            raise UsageError(
                f"two files are named {one.source} below the sources ({one.path} and {other.path});"
                " name the folder that holds both"
            )
    return ordered


def _told(error: Exception, record: ClipRecord) -> str:
    """The sentence of an error, with the file as the person knows it."""
    return str(error).replace(record.path, record.source)
