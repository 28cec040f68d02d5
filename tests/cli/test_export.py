"""Exporting a run: the same model, and a card that says what is known of it."""

import json

import numpy as np
import pytest

from sora_jax.cli import main
from sora_jax.export.bundle import open_model
from tests.tiny_model import write_tiny

REPORT = {
    "command": "sora-jax quickstart",
    "commit": "abc1234",
    "minutes": {"vae": 3.5, "dit": 11.0},
    "vae": {"psnr": 33.04},
    "toyworld": {
        name: {"all": 0.96, "n": 256, "interval": [0.928, 0.978]} for name in ("seen", "heldout")
    },
}


@pytest.fixture
def run_dir(tmp_path):
    write_tiny(tmp_path / "run" / "bundle")
    return tmp_path / "run"


def test_the_exported_model_is_the_same_and_its_card_has_the_figures(run_dir, tmp_path, capsys):
    (run_dir / "report.json").write_text(json.dumps(REPORT))
    out = tmp_path / "out"
    assert main.main(["export", str(run_dir), "-o", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["digest"] == open_model(out).digest
    before, after = open_model(run_dir), open_model(out)
    for part in ("vae", "dit"):
        first, second = (str(sorted(_flat(b.params[part]))) for b in (before, after))
        assert first == second
    card = (out / "card.md").read_text()
    for words in ("abc1234", "33.0 dB", "0.960 (0.928 to 0.978, n = 256)", "sora-jax quickstart"):
        assert words in card


def test_a_run_without_a_report_has_a_card_without_figures(run_dir, tmp_path):
    assert main.main(["export", str(run_dir), "-o", str(tmp_path / "out")]) == 0
    assert "right" not in (tmp_path / "out" / "card.md").read_text()


def test_a_missing_folder_is_named_before_any_work(run_dir, tmp_path, capsys):
    code = main.main(["export", str(run_dir), "-o", str(tmp_path / "no" / "out")])
    assert code == 2
    assert f"folder {tmp_path / 'no'} does not exist" in capsys.readouterr().err


def _flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", float(np.sum(np.abs(value)))
