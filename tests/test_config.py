"""The boundary between experiment files and the frozen dataclasses of the package."""

import dataclasses
from typing import Literal

import pytest
from ml_collections import ConfigDict

from sora_jax import config
from sora_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    width: int
    depth: int = 2
    rate: float = 1.0

    def __post_init__(self):
        if self.width % 2:
            raise ValueError(f"width {self.width} must be even")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    patch: tuple[int, int] = (2, 2)
    sizes: tuple[int, ...] = ()
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    solver: Literal["euler", "heun"] = "euler"
    name: str | None = None
    clip: bool = True


FULL = {
    "inner": {"width": 4, "depth": 3, "rate": 2},
    "patch": [1, 2],
    "sizes": [3, 4, 5],
    "shares": {"t2v": 1, "i2v": 0.5},
    "solver": "heun",
    "name": "x",
    "clip": False,
}


def test_resolve_builds_nested_dataclasses_from_dict_and_configdict():
    built = config.resolve(Outer, FULL)
    assert built.inner == Inner(width=4, depth=3, rate=2.0)
    assert isinstance(built.inner.rate, float)
    assert built.patch == (1, 2) and built.sizes == (3, 4, 5)
    assert built.shares == {"t2v": 1.0, "i2v": 0.5}
    assert config.resolve(Outer, ConfigDict(FULL)) == built
    assert config.resolve(Outer, config.to_dict(built)) == built


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inner": {"width": 4, "dept": 1}}, ["Inner", "'dept'", "'depth'", "inner"]),
        ({"solvr": "heun"}, ["Outer", "'solvr'", "'solver'"]),
        ({"inner": {"depth": 1}}, ["inner.width"]),
        ({"inner": {"width": 4.0}}, ["inner.width", "4.0", "int"]),
        ({"inner": {"width": True}}, ["inner.width", "True"]),
        ({"inner": {"width": 3}}, ["inner", "3 must be even"]),
        ({"inner": 3}, ["inner", "3"]),
        ({"patch": (1, 2, 3)}, ["patch", "2 entries"]),
        ({"sizes": (1, "a")}, ["sizes[1]", "'a'"]),
        ({"shares": {"t2v": "much"}}, ["shares.t2v", "'much'"]),
        ({"solver": "rk4"}, ["solver", "'rk4'", "'euler'"]),
        ({"name": 3}, ["name", "3"]),
        ({"clip": 1}, ["clip", "bool"]),
    ],
)
def test_resolve_names_what_is_wrong_in_one_line(change, words):
    with pytest.raises(UsageError) as caught:
        config.resolve(Outer, FULL | change)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_json_round_trip_and_its_errors(tmp_path):
    built = config.resolve(Outer, FULL)
    config.save_json(tmp_path / "config.json", built)
    assert config.load_json(Outer, tmp_path / "config.json") == built
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(UsageError, match="does not exist"):
        config.save_json(tmp_path / "no" / "config.json", built)
    with pytest.raises(UsageError, match="no config at"):
        config.load_json(Outer, tmp_path / "other.json")
    (tmp_path / "config.json").write_text('{"inner": ')
    with pytest.raises(UsageError, match="not JSON"):
        config.load_json(Outer, tmp_path / "config.json")


def test_difference_names_fields_with_both_values():
    first = config.resolve(Outer, FULL)
    second = dataclasses.replace(first, inner=Inner(width=6, depth=3, rate=2.0), solver="euler")
    found = config.difference(first, second)
    assert [item.field for item in found] == ["inner.width", "solver"]
    assert str(found[0]) == "inner.width (4 -> 6)"
    assert config.difference(first, config.to_dict(first)) == []
    assert config.difference({"a": 1}, {"b": 2}) == [("a", 1, "<absent>"), ("b", "<absent>", 2)]


EXPERIMENT = """
from ml_collections import ConfigDict

def get_config(arg=""):
    cfg = ConfigDict({"train": {"batch_size": 4, "rate": 0.1, "name": "a", "patch": (1, 2)}})
    cfg.train.name = arg or "a"
    return cfg
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(EXPERIMENT)
    return str(path)


def test_load_passes_the_argument_and_applies_overrides(experiment):
    loaded = config.load(
        f"{experiment}:smoke",
        {"train.batch_size": "8", "train.rate": "1", "train.patch": "(2, 2, 2)"},
    )
    assert loaded.train.to_dict() == {
        "batch_size": 8,
        "rate": 1.0,
        "name": "smoke",
        "patch": (2, 2, 2),
    }
    assert isinstance(loaded.train.rate, float)
    assert config.load(experiment, {"train.name": "12"}).train.name == "12"


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("train.batch_sise", "8", ["'batch_sise'", "'batch_size'", "train"]),
        ("tran.batch_size", "8", ["'tran'", "'train'"]),
        ("train.batch_size.x", "8", ["'x'", "train.batch_size"]),
        ("train.batch_size", "8.5", ["train.batch_size", "8.5", "4"]),
        ("train.batch_size", "__import__('os')", ["train.batch_size"]),
        ("train", "3", ["train"]),
    ],
)
def test_load_refuses_overrides_that_do_not_fit(experiment, key, text, words):
    with pytest.raises(UsageError) as caught:
        config.load(experiment, {key: text})
    for word in words:
        assert word in str(caught.value)


def test_load_names_the_nearest_experiment():
    with pytest.raises(UsageError, match="no experiment 'nosuchthing'"):
        config.load("nosuchthing")
