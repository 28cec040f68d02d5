"""`plan --suite`: which files of a folder are plans, and what one that fails leaves of others."""

import json
from pathlib import Path

import pytest

from sora_jax.cli import plan_suite
from sora_jax.errors import RunError, UsageError

CONFIG = "from experiments import base\n\ndef get_config(arg=''):\n    return base.get_config()\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two configs and what they share; plans are made up, and those called `bad` fail."""
    for name in ("bad", "good"):
        (tmp_path / f"{name}.py").write_text(CONFIG)
    (tmp_path / "shared.py").write_text("def half(size):\n    return size // 2\n")
    monkeypatch.setattr(plan_suite, "_plan", _made_up)
    return tmp_path


def _made_up(path: Path) -> dict:
    if path.stem == "bad":
        return {"config": str(path), "error": "no such topology"}
    return {"config": str(path), "fits": False, "compile_seconds": 1.0}


def test_the_folder_of_plans_holds_the_five_of_the_table():
    found = {path.stem for path in Path("experiments/plan").glob("*.py")}
    plans = {name for name in found if plan_suite._is_config(Path(f"experiments/plan/{name}.py"))}
    assert plans == set(plan_suite._FIRST) < found


def test_a_plan_that_fails_is_named_and_loses_no_other(folder, tmp_path):
    with pytest.raises(RunError, match=r"bad\.py could not be planned"):
        plan_suite.run(folder, tmp_path / "out", tmp_path / "page.md")
    plans = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [Path(plan["config"]).stem for plan in plans] == ["bad", "good"]
    assert [plan.get("fits") for plan in plans] == [None, False]


def test_what_configs_share_is_not_planned(folder, tmp_path):
    (folder / "bad.py").unlink()
    assert plan_suite.run(folder, tmp_path / "out", tmp_path / "page.md")["plans"] == 1


def test_a_config_that_cannot_be_read_stops_it_before_anything_is_planned(folder, tmp_path):
    (folder / "zero.py").write_text("def get_config(arg=''):\n    raise ValueError('no')\n")
    with pytest.raises(ValueError, match="no"):
        plan_suite.run(folder, tmp_path / "out", tmp_path / "page.md")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_configs_is_a_line(tmp_path):
    with pytest.raises(UsageError, match="holds no config"):
        plan_suite.run(tmp_path, tmp_path / "out", tmp_path / "page.md")
