"""What a run is held to: figures of a report beside their goals."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sora_jax.eval.intervals import wilson
from sora_jax.eval.scores import ATTRIBUTES, Row

KEPT_DB = 0.1  # that given frames may lose against the autoencoder alone
VAE_DB, VAE_GAIN_DB = 30.0, 3.0
COPIES = 0.01  # share of held-out videos that may be near copies of a training clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One figure. `unit` is "share", "dB", "min" or "" of a count; `interval` is 95% of a share."""

    name: str
    value: float
    goal: float
    unit: str = "share"
    interval: tuple[float, float] | None = None
    is_limit: bool = False
    """The goal is the most that is allowed, not the least."""

    @property
    def is_met(self) -> bool:
        return self.value <= self.goal if self.is_limit else self.value >= self.goal


def count(row: Row, key: str) -> int:
    """The clips over which `key` of a row is a share."""
    return row.get("decided", {}).get(key, row["n"])


def interval(row: Row, key: str, level: float = 0.95) -> tuple[float, float]:
    """The interval of one attribute of a row."""
    n = count(row, key)
    return wilson(round(row[key] * n), n, level)


def check(report: Mapping[str, Any]) -> list[Check]:
    """The goals of the run's world against its figures; those of absent parts are left out."""
    checks: list[Check] = []
    if "toyworld" in report:
        checks += _check_toyworld(report["toyworld"])
        checks += _check_controls(report["toyworld"])
    checks += _check_vae(report)
    checks += _check_tools(report)
    if share := report.get("dit", {}).get("matmul_share"):
        checks.append(Check(name="share of this machine's f32 matmul rate", value=share, goal=0.45))
    if "toyworld" in report and "minutes" in report:
        checks += _check_minutes(report)
    return checks


def _check_toyworld(toyworld: Mapping[str, Any]) -> list[Check]:
    heldout = toyworld["heldout"]
    if "kinds" not in heldout:
        return [
            _share("all attributes right, seen compositions", toyworld["seen"], "all", 0.95),
            _share("all attributes right, held-out compositions", heldout, "all", 0.92),
        ]
    kinds = heldout["kinds"]
    wanted = (
        ("held out: one object, all attributes", kinds.get("one"), "all", 0.9),
        ("held out: two objects, all attributes", kinds.get("two"), "all", 0.5),
        ("held out: camera", kinds.get("camera"), "camera", 0.9),
        ("held out: light", heldout, "light", 0.95),
        ("held out: scene change at its time", kinds.get("change"), "change", 0.7),
    )
    return [_share(name, row, key, goal) for name, row, key, goal in wanted if row and key in row]


def _check_vae(report: Mapping[str, Any]) -> list[Check]:
    vae, oracle = report["vae"], report.get("oracle")
    checks = [Check(name="VAE, held-out clips", value=vae["psnr"], goal=VAE_DB, unit="dB")]
    if vae.get("linear_psnr") is not None:
        gain = vae["psnr"] - vae["linear_psnr"]
        checks.append(
            Check(name="VAE above the linear codec", value=gain, goal=VAE_GAIN_DB, unit="dB")
        )
    if oracle:
        checks += [
            Check(name="oracle on real clips", value=oracle["real"], goal=0.99),
            Check(name="oracle after the VAE", value=oracle["round_trip"], goal=0.97),
        ]
    return checks


def _check_tools(report: Mapping[str, Any]) -> list[Check]:
    checks = []
    shares = (
        ("animate: motion right", "animate", "motion", 0.95),
        ("extend forward: goes on right", "extend", "continues", 0.9),
        ("extend backward: goes on right", "extend", "backward_continues", 0.85),
    )
    for name, tool, key, goal in shares:
        if tool in report:
            checks.append(_share(name, report[tool], key, goal))
    for tool, prefix in (("animate", ""), ("extend", ""), ("extend", "backward_")):
        if tool in report:
            row = report[tool]
            lost = row[f"{prefix}own_psnr"] - row[f"{prefix}known_psnr"]
            name = f"{tool}{' backward' if prefix else ''}: given frames lose against the VAE"
            checks.append(Check(name=name, value=lost, goal=KEPT_DB, unit="dB", is_limit=True))
    return checks


def _share(name: str, row: Row, key: str, goal: float) -> Check:
    return Check(name=name, value=row[key], goal=goal, interval=interval(row, key))


def _check_controls(toyworld: Mapping[str, Any]) -> list[Check]:
    controls = toyworld["controls"]
    checks = []
    for name, control in (
        ("shuffled captions", controls["shuffled_captions"]),
        ("no captions", controls["unconditional"]),
    ):
        lucky = above_chance(control, toyworld["chance"])
        name = f"{name}: attributes above chance"
        checks.append(Check(name=name, value=len(lucky), goal=0, unit="", is_limit=True))
    if nearest := controls["nearest_train"]:
        name = "held-out videos that are copies"
        checks.append(Check(name=name, value=nearest["copies"], goal=COPIES, is_limit=True))
    return checks


def _check_minutes(report: Mapping[str, Any]) -> list[Check]:
    minutes = report["minutes"]
    limits = [
        ("in total", minutes["total"], 25.0),
        ("training the transformer", minutes["dit"], 12.0),
    ]
    if "kinds" in report["toyworld"]["heldout"]:
        limits = [("training", minutes["vae"] + minutes["dit"], 90.0)]
    return [
        Check(name=f"minutes {name}", value=value, goal=goal, unit="min", is_limit=True)
        for name, value, goal in limits
    ]


def above_chance(row: Row, chance: Mapping[str, float]) -> list[str]:
    """The attributes whose interval lies above chance: in a control there should be none.

    The level is such that a control at chance has any in 5% of cases at most: 95% is divided among
    the attributes (Bonferroni).
    """
    keys = [key for key in ATTRIBUTES if key in row]
    level = 1 - 0.05 / max(len(keys), 1)
    return [key for key in keys if interval(row, key, level)[0] > chance[key]]
