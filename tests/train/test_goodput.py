"""Every second of a run's wall time is counted once, over all its attempts."""

import json
import time

import pytest

from sora_jax.train import goodput, stragglers


def line(process, began, told, start_step, reached, **seconds):
    return {
        "event": "progress",
        "process": process,
        "started": began - 1,  # imports
        "began": began,
        "time": told,
        "start_step": start_step,
        "step": reached,
        "seconds": dict.fromkeys(goodput.ACTIVITIES, 0.0) | seconds,
    }


def end(began, at, code):
    return {"event": "end", "began": began, "time": at, "code": code}


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))


def test_two_attempts_add_up(tmp_path):
    """Killed at step 20 with step 10 on disk: half of the first attempt's steps were for nothing,
    and so was what it did in the 2 s after its last line.
    """
    write(
        tmp_path / goodput.FILE,
        line(7, 1.0, 6.0, 0, 8, init=1.0, compile=2.0, step=2.0),
        line(7, 1.0, 24.0, 0, 20, init=1.0, compile=2.0, step=16.0, data=4.0),
        end(0.0, 26.0, 137),
        line(8, 31.0, 50.0, 10, 20, restore=3.0, step=14.0, save=2.0),
        end(30.0, 50.0, 0),
    )
    found = goodput.summarise(tmp_path)
    assert found.total == pytest.approx(50.0)
    assert (found.attempts, found.lost_steps) == (2, 10)
    assert found.seconds == pytest.approx(
        {
            "init": 1.0 + 1.0 + 1.0 + 3.0,  # imports, set-up, imports, restoring
            "compile": 2.0,
            "data": 2.0,
            "step": 8.0 + 14.0,
            "save": 2.0,
            "evaluate": 0.0,
            "lost": 10.0 + 2.0,
            "idle": 4.0,
        }
    )
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert "2 attempts, 10 steps lost" in found.table()


def test_stages_of_one_process_are_one_attempt(tmp_path):
    """What lies between them (data, latents) is setting up; a stage has its own steps."""
    write(tmp_path / "vae" / goodput.FILE, line(7, 1.0, 11.0, 0, 30, step=10.0))
    write(tmp_path / goodput.FILE, line(7, 1.0, 40.0, 0, 9, step=20.0))
    found = goodput.summarise(tmp_path)
    assert (found.attempts, found.lost_steps) == (1, 0)
    assert found.seconds["step"] == 30.0
    assert found.total == pytest.approx(40.0)


def test_a_ledger_counts_what_it_is_told(tmp_path):
    ledger = goodput.Ledger(tmp_path / goodput.FILE)
    ledger.write(0)
    ledger.enter("step")
    time.sleep(0.2)
    ledger.enter("save")
    ledger.write(3)
    seconds = goodput.summarise(tmp_path).seconds
    assert seconds["step"] == pytest.approx(0.2, abs=0.1)
    assert goodput.summarise(tmp_path / "nothing") is None


def test_a_line_that_was_cut_off_is_no_record(tmp_path):
    write(tmp_path / goodput.FILE, line(7, 1.0, 11.0, 0, 30, step=10.0))
    with (tmp_path / goodput.FILE).open("a") as file:
        file.write('{"event": "prog')
    assert goodput.summarise(tmp_path).seconds["step"] == 10.0


def test_a_ledger_that_has_no_room_is_told_of_once(tmp_path, caplog):
    (tmp_path / goodput.FILE).symlink_to("/dev/full")
    ledger = goodput.Ledger(tmp_path / goodput.FILE)
    ledger.write(0)
    ledger.write(1)
    assert caplog.text.count("the table will lack it") == 1


@pytest.mark.parametrize(
    ("slowest", "others", "step", "expected"),
    [(0.30, 0.10, 1.0, True), (0.13, 0.10, 0.2, False), (0.003, 0.001, 1.0, False)],
)
def test_a_straggler_is_slower_by_enough_to_matter(slowest, others, step, expected):
    assert stragglers.straggles(slowest, others, step) == expected


def test_the_slow_process_is_named(monkeypatch, caplog):
    monkeypatch.setattr(stragglers.hosts, "share", lambda name, own: [own, [5.0], own])
    slowest = stragglers.Slowest()
    with slowest.timed():
        pass
    assert slowest.figures()["data_seconds"] == 5.0
    assert "process 1 holds the others up: 5.000 s" in caplog.text
