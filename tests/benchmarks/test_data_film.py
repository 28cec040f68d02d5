"""The film's score: right kind, right place, nothing counted twice."""

from benchmarks import data_film
from benchmarks.data_film import Change
from tests.data_pipelines.test_records import FULL


def test_the_list_made_by_hand_is_ordered_and_covers_three_minutes():
    changes = data_film.read_changes(data_film.CUTS)
    assert sum(change.kind == "hard" for change in changes) == 32
    assert sum(change.kind == "fade" for change in changes) == 2
    assert [c.first for c in changes] == sorted(c.first for c in changes)
    assert 4200 < changes[-1].last < data_film.SECONDS * data_film.FPS


def test_a_perfect_list_scores_one_and_each_fault_costs_its_share():
    true = [Change("fade", 0, 50), Change("hard", 100, 100), Change("hard", 200, 200)]
    assert data_film.score(true, true) == (1.0, 1.0)
    near = [Change("fade", 3, 60), Change("hard", 102, 102), Change("hard", 198, 198)]
    assert data_film.score(near, true) == (1.0, 1.0)
    assert data_film.score([*true, Change("hard", 150, 150)], true) == (1.0, 0.75)
    assert data_film.score(true[:2], true) == (0.6667, 1.0)
    assert data_film.score([*true[:2], Change("hard", 203, 203)], true) == (0.6667, 0.6667)
    assert data_film.score([Change("hard", 25, 25), *true[1:]], true) == (0.6667, 0.6667)


def test_changes_are_read_off_the_spans_of_clips():
    """Pieces of one shot are no change; a fade is what lies between two shots; rejects count."""
    spans = [
        ((1.0, 2.0), ("fade", "length")),
        ((2.0, 3.0), ("length", "hard")),
        ((3.0, 4.0), ("hard", "fade")),
        ((4.5, 6.0), ("fade", "file")),
    ]
    records = [
        FULL.replace(id=str(i), source="bbb.mp4", span=span, cuts=cuts)
        for i, (span, cuts) in enumerate(spans)
    ]
    assert data_film.found_changes(records[::-1], "bbb.mp4") == [
        Change("fade", 0, 24),
        Change("hard", 72, 72),
        Change("fade", 96, 108),
    ]
