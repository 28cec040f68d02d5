"""The local runner: killed at any moment and started again, it ends in the same bytes."""

import hashlib
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_pipelines import local, report, workers, yields
from data_pipelines.journal import Entry, Journal
from data_pipelines.stages.decide import Decide, Thresholds
from sora_jax.data import records as shards
from tests.data_pipelines import films
from tests.data_pipelines.test_records import FULL

pytest.importorskip("scenedetect", reason="needs the extra data: make data-film installs it")

SCRIPT = (
    "import sys\n"
    "from data_pipelines import local\n"
    "from tests.data_pipelines import films\n"
    "if __name__ == '__main__':\n"
    "    local.run([sys.argv[1]], sys.argv[2], films.QUICK, processes=2)\n"
)


def make_sources(folder):
    """Three films of two scenes, one of them also twice as large, and captions."""
    for seed in range(3):
        frames = np.concatenate([films.scene(10 * seed + i, 40) for i in (1, 2)])
        films.write(folder / f"film{seed}.mp4", frames)
    films.write(folder / "copy.mp4", np.repeat(np.repeat(frames, 2, 1), 2, 2))
    for path in folder.glob("*.mp4"):
        path.with_suffix(".txt").write_text(f"a landscape of {path.stem}")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of films."""
    return make_sources(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    """The folder of a run that nothing happened to, and its outcome."""
    out = tmp_path_factory.mktemp("out")
    return out, local.run([sources], out, films.QUICK, processes=2)


def digests(out):
    """SHA-256 of every file of the shards, and of the table of clips."""
    paths = [p for p in (out / "shards").rglob("*") if p.is_file()] + [out / local.CLIPS]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


def kill_and_finish(sources, out, moments):
    """Start the run in a process of its own and kill it after each of `moments` seconds."""
    command = [sys.executable, "-c", SCRIPT, str(sources), str(out)]
    killed = 0
    for moment in moments:
        process = subprocess.Popen(command, start_new_session=True)
        try:
            assert process.wait(timeout=moment) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    subprocess.run(command, check=True)
    return killed


def test_clips_go_from_files_to_shards(undisturbed, sources):
    out, outcome = undisturbed
    kept = [record for record in outcome.records if not record.is_rejected]
    assert len(kept) == sum(outcome.splits.values()) == 6
    stored = [
        record for split in outcome.splits for record in shards.open_split(out / "shards", split)
    ]
    assert {record.id for record in stored} == {record.id for record in kept}
    for record in stored:
        assert shards.decode(record).shape == (*record.shape, 3)
        assert record.caption == f"a landscape of {record.source.removesuffix('.mp4')}"
        assert str(sources) not in str(record.extra)
    lines = local.read_clips(out)
    assert [line.id for line in lines] == [record.id for record in outcome.records]
    # Film 2 is there in two sizes: the larger one is kept.
    twice = {r.source: r.decision.reasons for r in outcome.records if r.is_rejected}
    assert list(twice) == ["film2.mp4"] and twice["film2.mp4"][0][0] == "duplicate"


def test_a_run_that_is_killed_ends_in_the_same_bytes(undisturbed, sources, tmp_path):
    """Killed once the first clips are cut; what was done is not done again."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(sources), str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    journal = out / "work" / "clip.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "shards").exists(), "it was too fast to be killed"
    with journal.open("ab") as file:  # half a line, as a kill in the middle of a write leaves
        file.write(b'{"key": "0123')
    done = json.loads(journal.read_text().splitlines()[0])["out"][0]["media"]["path"]
    stamp = (out / "work" / done).stat().st_mtime_ns
    local.run([sources], out, films.QUICK, processes=1)
    assert digests(out) == digests(undisturbed[0])
    assert len(journal.read_text().splitlines()) == 8
    assert (out / "work" / done).stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_five_kills_at_random_moments_change_no_byte(undisturbed, sources, tmp_path):
    started = time.monotonic()
    command = [sys.executable, "-c", SCRIPT, str(sources), str(tmp_path / "timed")]
    subprocess.run(command, check=True)
    seconds = time.monotonic() - started
    moments = np.random.default_rng(time.time_ns()).uniform(0.3, 0.9 * seconds, 5)
    killed = kill_and_finish(sources, tmp_path / "out", moments)
    assert killed >= 2, moments
    assert digests(tmp_path / "out") == digests(undisturbed[0]), moments


def test_a_second_run_does_nothing_anew_and_another_threshold_measures_nothing(
    undisturbed, sources, monkeypatch
):
    """Journals have it all: no worker is started, also when only thresholds change."""
    out, _ = undisturbed
    before = digests(out)

    def refuse(crew, stage, found):
        assert not list(found), stage.name
        return iter(())

    monkeypatch.setattr(workers.Crew, "apply_all", refuse)
    local.run([sources], out, films.QUICK, processes=1)
    assert digests(out) == before
    strict = films.QUICK.__class__(
        clip=films.QUICK.clip, score=films.QUICK.score, decide=Thresholds(min_motion=200.0)
    )
    assert local.run([sources], out, strict, processes=1).splits == {}


def test_a_file_that_ends_its_process_is_rejected_and_the_rest_goes_on():
    found = [FULL.replace(id=name, source=name, decision=None) for name in "abcd"]
    with workers.Crew(2) as crew:
        done = {record.id: entry.out for record, entry in crew.apply_all(films.Crash(), found)}
    assert {name: out[0].is_rejected for name, out in done.items()} == {
        "a": False, "b": True, "c": False, "d": False,
    }  # fmt: skip
    assert done["b"][0].decision.reasons[0][0] == "crash"


def test_a_journal_keeps_whole_lines_and_knows_the_settings(tmp_path):
    stage, path = Decide(Thresholds()), tmp_path / "decide.jsonl"
    one, two = FULL.replace(id="1"), FULL.replace(id="2")
    journal = Journal(path, stage)
    for record in (one, two):
        journal.add(record, Entry([record], 0.5))
    journal.close()
    content = path.read_bytes()
    first = content.index(b"\n")
    cuts = {*range(0, len(content), 211), *range(first - 1, first + 3), len(content) - 1}
    for cut in sorted(cuts):
        path.write_bytes(content[:cut])
        again = Journal(path, stage)
        lines = content[:cut].count(b"\n")
        assert [again.find(r) is not None for r in (one, two)] == [lines > 0, lines > 1]
        again.close()
        assert len(path.read_bytes().splitlines()) == lines
    path.write_bytes(content)
    assert Journal(path, Decide(Thresholds(min_motion=5.0))).find(one) is None


def test_the_report_shows_yields_thresholds_and_reasons(undisturbed):
    out, outcome = undisturbed
    figures = report.write(outcome, out, films.QUICK)
    assert figures["clips_kept"] == 6 and figures["clips_rejected"] == {"duplicate": 2}
    by_name = {line.name: line for line in outcome.yields}
    assert (by_name["shots"].into, by_name["shots"].out) == (4, 8)
    assert by_name["decide"].rejected == {"duplicate": 2} and by_name["decide"].share == 0.75
    page = (out / "report.html").read_text()
    for text in ("min_motion 0.3", "Rejected: duplicate (2)", "data:image/jpeg", "film2.mp4"):
        assert text in page, text
    assert "<script" not in page
    assert "decide" in yields.table(outcome.yields)
