"""Logging cannot hurt: a full disk or a broken service costs lines at worst, never the run."""

import errno
import json
import os
import threading

import pytest

from sora_jax.train import writers


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_that_find_no_room_wait_for_it(tmp_path, monkeypatch, caplog):
    """Half a line is never left in the file, and all come in order once there is room."""
    path = tmp_path / "metrics.jsonl"
    log = writers.JsonLines(path)
    log.scalars(1, {"loss": 1.0})
    fsync = os.fsync

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    log.scalars(2, {"loss": 2.0})
    log.scalars(3, {"loss": 3.0})
    assert [line["step"] for line in lines(path)] == [1]
    assert caplog.text.count("No space left on device") == 1
    monkeypatch.setattr(os, "fsync", fsync)
    log.scalars(4, {"loss": float("nan")})
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4]
    assert lines(path)[-1]["loss"] is None


def test_a_real_full_disk(tmp_path, caplog):
    """/dev/full takes nothing."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    log = writers.JsonLines(path)
    log.scalars(1, {"loss": 1.0})
    log.close()
    assert "its lines wait" in caplog.text
    assert "lacks its last 1 lines" in caplog.text


class Broken:
    def __init__(self, fails):
        self.fails, self.seen = fails, []

    def _do(self, name):
        self.seen.append(name)
        if name == self.fails:
            raise ConnectionError("the server is down")

    def scalars(self, step, values):
        self._do("scalars")

    def videos(self, step, paths):
        self._do("videos")

    def close(self):
        self._do("close")


class Stuck(Broken):
    def scalars(self, step, values):
        threading.Event().wait()


@pytest.mark.parametrize("fails", ["scalars", "videos", "close", "nothing"])
def test_a_sink_that_fails_is_left_out(fails, caplog):
    broken = Broken(fails)
    sink = writers.Sink("the service", lambda: broken)
    sink.scalars(1, {})
    sink.videos(1, {})
    sink.close()
    order = ["scalars", "videos", "close"]
    assert broken.seen == (order[: order.index(fails) + 1] if fails in order else order)
    assert ("the service is left out" in caplog.text) == (fails in order)


def test_a_sink_that_hangs_holds_nobody_up(caplog):
    sink = writers.Sink("the service", lambda: Stuck(""), patience=0.2)
    for step in range(writers._BEHIND + 2):
        sink.scalars(step, {})
    assert "lines behind" in caplog.text
    sink.close()
    sink = writers.Sink("the service", lambda: Stuck(""), patience=0.2)
    sink.scalars(1, {})
    sink.close()
    assert "did not finish within 0.2 s" in caplog.text


def test_a_service_that_can_not_be_reached_is_left_out(caplog):
    def make():
        raise TimeoutError("no answer in 15 s")

    sink = writers.Sink("the service", make)
    sink.scalars(1, {})
    sink.close()
    assert caplog.text.count("no answer in 15 s") == 1
