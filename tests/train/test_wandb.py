"""Weights & Biases may be away, broken or full: the training is the same to the bit."""

import http.server
import os
import subprocess
import threading

import pytest

from sora_jax.train import dit_run, loop, runner, writers
from sora_jax.train.digest import digests
from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """Digests of a run that nobody watches."""
    return digests(fit(tmp_path_factory.mktemp("none"), None).state)


def fit(workdir, sink):
    cfg = tiny_training(steps=4)
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    log = writers.JsonLines(workdir / "metrics.jsonl")
    return runner.run(
        dit_run.plan(cfg),
        rows,
        workdir=workdir,
        mesh=one_device(),
        writers=lambda progress: [log, *([sink] if sink else [])],
        hooks=loop.Hooks(),
    )


def sink_of(directory, mode, patience=60.0):
    make = lambda: writers.Wandb(directory, "run", {"api_key": "SECRET123"}, mode)  # noqa: E731
    return writers.Sink("wandb", make, patience=patience)


class Broken(http.server.BaseHTTPRequestHandler):
    """A server that fails at everything."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(500)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def service(monkeypatch, request):
    """Where wandb is told that its server is: one that is not there, or one that is broken."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(writers, "_PATIENCE", 8.0)
    if request.param == "no network":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        yield request.param
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield request.param
    server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("service", ["no network", "answers 500"], indirect=True)
def test_a_server_that_is_no_use_changes_nothing(service, without, tmp_path, caplog):
    result = fit(tmp_path, sink_of(tmp_path, "online"))
    assert digests(result.state) == without
    assert "wandb" in caplog.text  # it was said
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_full_disk_under_wandb_changes_nothing(without, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        result = fit(tmp_path, sink_of(small, "offline", patience=20.0))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert digests(result.state) == without
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_id_and_no_secret_is_stored(without, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert digests(fit(tmp_path / "a", sink_of(tmp_path, "offline")).state) == without
    kept = (tmp_path / "wandb" / "run.id").read_text()
    assert digests(fit(tmp_path / "b", sink_of(tmp_path, "offline")).state) == without
    assert (tmp_path / "wandb" / "run.id").read_text() == kept
    runs = list((tmp_path / "wandb").glob(f"offline-run-*-{kept}"))
    assert len(runs) >= 1
    stored = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    assert not [path for path in stored if b"SECRET123" in path.read_bytes()]
