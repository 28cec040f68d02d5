"""The Apache Beam runner: the same steps as a graph, for more than one machine.

Records travel as lines of JSON; cut clips lie below OUT/work, which every worker must see under the
same path, as it must see the sources. The table and the shards are written by the process that
started the run, with the code that the local runner ends with, so both give the same bytes.
"""

import dataclasses
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from data_pipelines import local, pipeline, records, workers
from data_pipelines.local import Outcome
from data_pipelines.pipeline import PipelineConfig, Whole
from data_pipelines.records import ClipRecord, Stage
from data_pipelines.stages import dedup
from data_pipelines.yields import StageYield
from sora_jax import files
from sora_jax.errors import RunError, UsageError

RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")
_COUNTERS = "sora_jax"


def run(
    sources: Sequence[str | Path],
    out: str | Path,
    config: PipelineConfig,
    *,
    runner: str,
    options: Sequence[str] = (),
    key: str = "",
) -> Outcome:
    """Take all media files of `sources` through the pipeline into OUT/shards, by a Beam runner.

    `options` are Beam's own words, such as --flink_master=HOST:8081. Raises as `local.run` does,
    and RunError when the runner fails.
    """
    if runner not in RUNNERS:
        raise UsageError(f"--runner {runner} is not local or one of {', '.join(RUNNERS)}")
    started = time.monotonic()
    work = Path(out).absolute() / "work"
    table = work / "beam"
    with files.disk_errors(work):
        shutil.rmtree(table, ignore_errors=True)
        table.mkdir(parents=True)
    found = pipeline.seeds([Path(source).absolute() for source in sources])
    graph = beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *options]))
    lines = build(graph, found, pipeline.steps(config, work, key), config)
    _ = lines | "write" >> beam.io.WriteToText(str(table / "records"), file_name_suffix=".jsonl")
    try:
        result = graph.run()
        result.wait_until_finish()
    except (RuntimeError, OSError) as error:
        raise RunError(f"{runner} failed: {error}") from error
    done = [
        records.from_json(line)
        for path in sorted(table.glob("records*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    if len(done) < len(found):
        raise RunError(
            f"{table} holds {len(done)} records of {len(found)} files; do the workers and this"
            f" machine see {out} under the same path?"
        )
    return local.finish(done, _yields(result), out, config, started)


def build(
    graph: beam.Pipeline, found: Sequence[ClipRecord], steps: Sequence[Any], config: PipelineConfig
) -> Any:
    """Add the steps to a graph; the collection of records as lines of JSON at its end."""
    lines = graph | "sources" >> beam.Create([records.to_json(record) for record in found])
    for step in steps:
        if not isinstance(step, Whole):
            # Without it a runner may fuse all stages, and one film would stay on one worker.
            lines = lines | f"spread {step.name}" >> beam.Reshuffle()
            lines = lines | step.name >> beam.ParDo(_Apply(step))
        elif step.name == "distinct":
            lines = lines | step.name >> _Distinct()
        else:
            lines = lines | step.name >> _Dedup(config.dedup.max_bits)
    return lines


class _Apply(beam.DoFn):
    """A stage on lines of JSON, with counters for the yield table."""

    def __init__(self, stage: Stage):
        self._stage = stage

    def process(self, line: str) -> Iterator[str]:
        record = records.from_json(line)
        if record.is_rejected:
            yield line
            return
        entry = workers.timed_apply(self._stage, record)
        self._count("in", 1)
        self._count("milliseconds", round(1000 * entry.seconds))
        for found in entry.out:
            self._count("out", not found.is_rejected)
            if found.is_rejected and found.decision is not None:
                self._count(f"rejected {found.decision.reasons[0][0]}", 1)
            yield records.to_json(found)

    def _count(self, name: str, number: int) -> None:
        Metrics.counter(_COUNTERS, f"{self._stage.name}/{name}").inc(int(number))


class _Distinct(beam.PTransform):
    """`dedup.distinct_files` by groups of equal bytes."""

    def expand(self, lines: Any) -> Any:
        return (
            lines
            | "by bytes" >> beam.Map(lambda line: (records.from_json(line).source_sha256, line))
            | "group" >> beam.GroupByKey()
            | "first" >> beam.FlatMap(_distinct)
        )


class _Dedup(beam.PTransform):
    """`dedup.mark_duplicates` by bands: pairs within a band, the best for each, joined by id."""

    def __init__(self, max_bits: int):
        super().__init__()
        self._max_bits = max_bits

    def expand(self, lines: Any) -> Any:
        better = (
            lines
            | "bands" >> beam.FlatMap(_bands)
            | "by band" >> beam.GroupByKey()
            | "pairs" >> beam.FlatMap(_losers, self._max_bits)
            | "best" >> beam.CombinePerKey(min)
        )
        named = lines | "by id" >> beam.Map(lambda line: (records.from_json(line).id, line))
        joined = {"lines": named, "better": better} | "join" >> beam.CoGroupByKey()
        return joined | "mark" >> beam.FlatMap(_mark)


def _distinct(group: tuple[str, Iterable[str]]) -> Iterator[str]:
    found = [records.from_json(line) for line in group[1]]
    yield from map(records.to_json, dedup.distinct_files(found))


def _bands(line: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    found = dedup.candidate(records.from_json(line))
    if found is not None:
        for band, bits in dedup.bands(found):
            yield f"{band}:{bits}", dataclasses.astuple(found)


def _losers(
    group: tuple[str, Iterable[tuple[Any, ...]]], max_bits: int
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    found = [dedup.Candidate(*values) for values in group[1]]
    for loser, winner in dedup.losers(found, max_bits):
        yield loser, dataclasses.astuple(winner)


def _mark(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[str]:
    better = [dedup.Candidate(*values) for values in joined[1]["better"]]
    for line in joined[1]["lines"]:
        found = dedup.mark(records.from_json(line), better[0] if better else None)
        yield records.to_json(found)


def _yields(result: Any) -> list[StageYield]:
    """The yield of each stage from the counters of a run. What a worker did twice counts twice."""
    counts: dict[str, dict[str, int]] = {}
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(_COUNTERS))
    for counter in query["counters"]:
        stage, _, name = counter.key.metric.name.partition("/")
        counts.setdefault(stage, {})[name] = counter.result
    return [
        StageYield(
            name=stage,
            into=found.get("in", 0),
            out=found.get("out", 0),
            rejected={
                name.removeprefix("rejected "): number
                for name, number in sorted(found.items())
                if name.startswith("rejected ")
            },
            seconds=found.get("milliseconds", 0) / 1000,
            megabytes=0.0,
        )
        for stage, found in counts.items()
    ]
