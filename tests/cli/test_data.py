"""`sora-jax data`: what its verbs print, write and answer."""

import json
import re

import pytest

from data_pipelines import shards
from sora_jax.cli import main
from sora_jax.data import index, records
from tests.tiny_model import write_tiny


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
    (size,) = train["sizes"]
    assert (size["width"], size["records"], size["frames"]) == (32, 5, [4, 4, 8])
    assert train["captions"] == {"count": 10, "timed": 5, "words": 2.0}
    assert train["bytes"] == sum(
        len(record.video) for record in records.open_split(written, "train")
    )
    code, out, _ = run(capsys, "inspect", written)
    assert (
        "5 clips" in out
        and "32x32 at 29.97/s: 5 clips of 4 to 8 frames" in out
        and "clip number 0" in out
    )


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


def test_toyworld_is_rendered_once(tmp_path, capsys):
    words = ["toyworld", "-o", tmp_path / "toy", "--train", 3, "--test", 1]
    code, out, _ = run(capsys, *words, "--json")
    result = json.loads(out)
    assert code == 0 and result["splits"] == {"heldout": 1, "seen": 1, "train": 3}
    assert result["output"] == str(tmp_path / "toy")
    before = index.read_manifest(tmp_path / "toy")
    assert before["settings"] == {"kind": "toyworld", "level": "small"}
    code, out, err = run(capsys, *words)
    assert code == 0 and "nothing was rendered" in err and "output" in out.splitlines()[-1]
    run(capsys, *words[:-1], 2)
    assert index.read_manifest(tmp_path / "toy") != before


def test_encode_writes_latents_of_every_split(tmp_path, capsys, make_record):
    made = [make_record(i, num_frames=n) for i, n in enumerate((4, 8, 3, 4))]
    shards.write(tmp_path / "clips", {"train": made[:3], "heldout": made[3:]})
    model = write_tiny(tmp_path / "model")
    words = ["encode", tmp_path / "clips", "--model", model, "--batch", 8, "--latents"]
    code, out, _ = run(capsys, *words, "-o", tmp_path / "latents", "--json")
    result = json.loads(out)
    assert code == 0 and result["splits"] == {"heldout": 1, "train": 2}
    assert result["left_out"] == 1 and "clip2" in result["notes"][0]
    source = records.open_split(tmp_path / "latents", "train")
    assert [source[i].latents.shape for i in range(2)] == [(1, 4, 4, 4), (2, 4, 4, 4)]
    assert source[1].captions == made[1].captions


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inspect", "nowhere"], "no shards in nowhere"),
        (["verify", "nowhere"], "no shards in nowhere"),
        (["inspect", "nowhere", "-o", "a.html"], "goes with --html"),
        (["inspect", "nowhere", "--html", "--samples", "0"], "--samples 0"),
        (["toyworld", "-o", "x", "--train", "0"], "at least 1 clip of train"),
        (["physics", "-o", "x", "--frames", "4"], "last 0.50 s"),
        (["encode", "nowhere", "--model", "toyworld", "-o", "x"], "add --latents, --text or both"),
        (["encode", "x", "--model", "toyworld", "--text", "-o", "./x"], "is the shards that are"),
        (["encode", "nowhere", "--model", "x", "--text", "-o", "x"], "no shards in nowhere"),
        (["inspec", "nowhere"], "invalid choice: 'inspec'"),
    ],
)
def test_wrong_use_is_one_line(words, expected, capsys):
    code, _, err = run(capsys, *words)
    assert code == 2 and expected in err.splitlines()[-1]


def test_without_a_verb_the_path_is_explained(capsys):
    """From videos to a trained model, step by step, and it is no mistake to ask."""
    assert main.main(["data", "--json"]) == 0
    told = " ".join(json.loads(capsys.readouterr().out).values())
    for verb in ("fetch-samples", "run", "inspect", "verify"):
        assert f"sora-jax data {verb}" in told
