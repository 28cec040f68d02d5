"""`sora-jax data`: what its verbs print, write and answer."""

import json
import re

import pytest

from data_pipelines import shards
from sora_jax.cli import main
from sora_jax.data import records


def run(capsys, *words):
    code = main.main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def written(make_record, tmp_path):
    made = [make_record(i, num_frames=4 + 4 * (i % 2)) for i in range(5)]
    shards.write(tmp_path / "clips", {"train": made}, settings={"maker": "<test>"})
    return tmp_path / "clips"


def test_inspect_counts(written, capsys):
    code, out, _ = run(capsys, "inspect", written, "--json")
    train = json.loads(out)["splits"]["train"]
    assert code == 0 and train["records"] == 5
    assert [(s["frames"], s["records"]) for s in train["shapes"]] == [(4, 3), (8, 2)]
    assert train["captions"] == {"count": 10, "timed": 5, "words": 2.0}
    assert train["bytes"] == sum(
        len(record.video) for record in records.open_split(written, "train")
    )
    code, out, _ = run(capsys, "inspect", written)
    assert "5 clips" in out and "4 frames of 32x32" in out and "clip number 0" in out


def test_inspect_writes_a_page_that_needs_nothing_else(written, capsys):
    code, out, _ = run(capsys, "inspect", written, "--html", "--samples", 3, "--json")
    page = json.loads(out)["output"]
    text = open(page).read()
    assert code == 0 and page.endswith("clips.html")
    assert text.count("<article") == 3 and text.count("data:image/jpeg;base64,") == 3
    assert "clip number 0" in text and "&lt;test&gt;" in text and "<test>" not in text
    assert not re.search(r"""(src|href)=(?!"data:)""", text) and "<script" not in text


def test_a_damaged_clip_is_shown_as_such(written, capsys):
    (shard,) = written.rglob("*.array_record-*")
    content = bytearray(shard.read_bytes())
    content[200:300] = bytes(100)
    shard.write_bytes(content)
    code, out, _ = run(capsys, "inspect", written, "--html", "--json")
    text = open(json.loads(out)["output"]).read()
    assert code == 0 and "&#x27;clip0&#x27;" in text and "is damaged" in text


def test_verify_passes_and_fails(written, capsys):
    code, out, _ = run(capsys, "--json", "verify", written)
    assert code == 0 and json.loads(out)["damaged"] == 0
    (shard,) = written.rglob("*.array_record-*")
    content = bytearray(shard.read_bytes())
    content[200:300] = bytes(100)
    shard.write_bytes(content)
    code, out, err = run(capsys, "verify", written, "--json")
    result = json.loads(out)
    assert code == result["exit_code"] == 5
    assert result["damaged_records"] == ["train:clip0"] and len(result["damaged_files"]) == 1
    assert err.splitlines()[-1].startswith("sora-jax: 1 of 5 records and 1 of")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inspect", "nowhere"], "no shards in nowhere"),
        (["verify", "nowhere"], "no shards in nowhere"),
        (["inspect", "nowhere", "-o", "a.html"], "goes with --html"),
        (["inspect", "nowhere", "--html", "--samples", "0"], "--samples 0"),
        (["inspec", "nowhere"], "invalid choice: 'inspec'"),
        ([], "required: VERB"),
    ],
)
def test_wrong_use_is_one_line(words, expected, capsys):
    code, _, err = run(capsys, *words)
    assert code == 2 and expected in err.splitlines()[-1]
