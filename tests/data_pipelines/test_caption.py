"""Captions from files, templates, plug-ins, and a model behind an address."""

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from data_pipelines import pipeline
from data_pipelines.endpoint import EndpointConfig
from data_pipelines.records import Probe
from data_pipelines.stages.caption import CaptionConfig, CaptionStage, from_template, sidecar
from sora_jax.data.schema import Caption
from sora_jax.errors import RunError, UsageError
from tests.data_pipelines import films
from tests.data_pipelines.test_records import FULL


@pytest.fixture
def record(tmp_path):
    """Seconds 1 to 3 of a source of 4 seconds."""
    path = films.write(tmp_path / "film_one.mp4", films.scene(1, 96))
    cut = FULL.media.__class__(**FULL.media.__dict__ | {"num_frames": 48, "fps": 24.0})
    probe = Probe(format="mov", codec="h264", num_frames=96, height=72, width=96, fps=24.0)
    return FULL.replace(
        path=str(path),
        source=path.name,
        span=(1.0, 3.0),
        media=cut,
        probe=probe,
        decision=None,
        captions=(),
        extra={"title": "A Film"},
    )


def look(count, side):
    raise AssertionError("nobody needs to look")


def test_timed_captions_are_brought_to_the_clips_seconds(record, tmp_path):
    """Those that end before or begin after are gone, others are cut at the ends."""
    (tmp_path / "film_one.txt").write_text(" the\n whole ")
    timed = [("before", 0, 1), ("early", 0.5, 1.5), ("late", 2.5, 9), ("after", 3, 4)]
    lines = [{"text": text, "start": start, "end": end} for text, start, end in timed]
    (tmp_path / "film_one.json").write_text(json.dumps({"captions": lines[:2]}))
    (tmp_path / "film_one.jsonl").write_text("\n".join(map(json.dumps, lines[2:])))
    assert sidecar(record, look) == [
        Caption("the whole", 0.0, 2.0),
        Caption("early", 0.0, 0.5),
        Caption("late", 1.5, 2.0),
    ]


def test_a_caption_of_most_of_the_clip_is_its_global_one_and_of_less_is_not(record, tmp_path):
    def write(end):
        lines = [{"text": "a", "start": 1.0, "end": end}]
        (tmp_path / "film_one.json").write_text(json.dumps({"captions": lines}))

    write(2.2)
    assert sidecar(record, look)[0] == Caption("a", 0.0, 2.0)
    write(1.8)
    (stage_out,) = CaptionStage(CaptionConfig(), str(tmp_path))(record)
    assert stage_out.captions == (Caption("A Film", 0.0, 2.0), Caption("a", 0.0, 0.8))
    assert stage_out.extra["captioner"] == {"name": "template", "template": "{title}"}


def test_templates_fill_in_what_is_known(record):
    scores = {"motion": 80.0, "brightness": 0.1}
    text = from_template(record.replace(scores=scores), "{stem}: {light}, {speed}, {seconds} s")
    assert text == [Caption("film one: dark, fast, 2 s", 0.0, 2.0)]
    assert from_template(record.replace(extra={}), "{title}") == []
    with pytest.raises(UsageError, match=r"\{speed\}"):
        from_template(record, "{colour}")


def test_a_plugin_may_write_captions_and_a_wrong_name_is_refused(record, tmp_path):
    config = CaptionConfig(order=("tests.data_pipelines.films:describe",))
    (found,) = CaptionStage(config, str(tmp_path))(record)
    assert found.captions[0].text == "2 pictures of 48 pixels"
    with pytest.raises(ValueError, match="package.module:name"):
        CaptionConfig(order=("sidecars",))
    with pytest.raises(ValueError, match=r"endpoint\.url"):
        CaptionConfig(order=("endpoint",))


class Model(BaseHTTPRequestHandler):
    """A chat endpoint that answers with the statuses it is given, in order, then with 200."""

    statuses: list[int] = []
    seen: list[dict] = []
    answer = "a landscape of blobs"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Model.seen.append({"key": self.headers["Authorization"], "body": body, "path": self.path})
        Model.seen[-1]["time"] = time.monotonic()
        status = Model.statuses.pop(0) if Model.statuses else 200
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0.2")
        content = json.dumps({"choices": [{"message": {"content": Model.answer}}]}).encode()
        content = content if status == 200 else b"sorry"
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


@pytest.fixture
def url():
    """The address of a fresh model."""
    Model.statuses, Model.seen, Model.answer = [], [], "a landscape of blobs"
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


def stage_of(url, directory, **settings):
    endpoint = EndpointConfig(url=url, model="eye", wait=0.01, **settings)
    config = CaptionConfig(order=("endpoint",), endpoint=endpoint)
    return CaptionStage(config, str(directory), key="secret-word")


def test_a_model_is_shown_frames_and_its_answer_kept(record, tmp_path, url):
    stage = stage_of(url, tmp_path, frames=3, side=48)
    (found,) = stage(record)
    assert found.captions == (Caption("a landscape of blobs", 0.0, 2.0),)
    (asked,) = Model.seen
    assert asked["path"] == "/v1/chat/completions" and asked["key"] == "Bearer secret-word"
    text, *pictures = asked["body"]["messages"][0]["content"]
    assert text["text"] == stage.config.endpoint.prompt and len(pictures) == 3
    jpeg = base64.b64decode(pictures[0]["image_url"]["url"].partition(",")[2])
    assert Image.open(io.BytesIO(jpeg)).size == (48, 36)
    said = found.extra["captioner"]
    assert said == {"name": "endpoint", "model": "eye", "prompt": stage.config.endpoint.prompt}
    # Asked once: a second run, and a killed one, find the answer on disk. The key is nowhere.
    assert stage(record) == [found] and len(Model.seen) == 1
    stored = [path.read_text() for path in Path(tmp_path).rglob("*.json")]
    assert len(stored) == 1 and "secret-word" not in stored[0] + repr(stage)
    other = stage_of(url, tmp_path, frames=3, side=48, prompt="What is it?")
    other(record)
    assert len(Model.seen) == 2


def test_failures_that_pass_are_tried_again_as_late_as_the_server_asks(record, tmp_path, url):
    Model.statuses = [500, 429, 503]
    (found,) = stage_of(url, tmp_path)(record)
    assert found.captions and len(Model.seen) == 4
    assert Model.seen[2]["time"] - Model.seen[1]["time"] >= 0.19


@pytest.mark.parametrize(
    ("statuses", "tries", "words"), [([401], 1, "key"), ([500] * 9, 3, "kept")]
)
def test_failures_that_stay_stop_the_run(record, tmp_path, url, statuses, tries, words):
    Model.statuses = statuses
    with pytest.raises(RunError, match=words):
        pipeline.apply(stage_of(url, tmp_path, retries=2), record)
    assert len(Model.seen) == tries


def test_nobody_at_the_address_stops_the_run(record, tmp_path):
    with pytest.raises(RunError, match="failed 2 times"):
        stage_of("http://127.0.0.1:9/v1", tmp_path, retries=1)(record)


def test_an_empty_answer_is_a_bad_caption_of_that_clip_alone(record, tmp_path, url):
    Model.answer = "  "
    (found,) = pipeline.apply(stage_of(url, tmp_path), record)
    assert found.decision.reasons[0][0] == "bad_caption"


def test_requests_keep_to_the_limit_of_a_minute(record, tmp_path, url):
    stage = stage_of(url, tmp_path, per_minute=300.0)
    for i in range(4):
        stage(record.replace(span=(0.1 * i, 0.1 * i + 2.0)))
    times = [asked["time"] for asked in Model.seen]
    assert len(times) == 4 and times[-1] - times[0] >= 0.55
