"""The report says what the figures say, holds what it shows, and takes what runs leave behind."""

import base64
import copy
import json
import re

import numpy as np
import pytest

from sora_jax.eval import goals, page, provenance, report
from sora_jax.eval.charts import line_chart, log_ticks, ticks
from sora_jax.eval.clips import RealClips, evaluate_clips
from sora_jax.eval.running import Evaluation, Example
from sora_jax.eval.showcase import RECONSTRUCTION
from sora_jax.media import decode_mp4
from tests.eval.toy_model import SETTINGS, draw_clips, make_engine

DIT = {
    "params": 1, "steps": 100, "samples_seen": 1600, "steps_per_second": 11.0, "compiles": 1,
    "matmul_share": 0.5,
}  # fmt: skip
MINUTES = {"setup": 1.0, "data": 1.0, "vae": 4.0, "dit": 11.0, "eval": 3.0}


def row(right: float, n: int = 256, **changes) -> dict:
    shares = dict.fromkeys(("colour", "shape", "motion", "background", "all"), right)
    return shares | {"n": n, "interval": [0.0, 1.0]} | changes


def make_figures(seen=0.99, heldout=0.95) -> dict:
    chance = {"colour": 1 / 6, "shape": 0.25, "motion": 1 / 6, "background": 0.25, "all": 0.002}
    control = row(0.2, all=0.0)
    nearest = row(0.3, all=0.0, generated=20.0, real=21.0, copies=0.0, train_n=4096)
    kept = {"known_psnr": 33.0, "own_psnr": 33.0, "n": 128}
    return {
        "oracle": {"real": 1.0, "round_trip": 0.99},
        "vae": {"psnr": 33.0, "linear_psnr": 26.0, "compression": 48.0, "params": 10**6},
        "toyworld": {
            "seen": row(seen), "heldout": row(heldout), "chance": chance,
            "controls": {"shuffled_captions": row(0.17, all=0.0), "unconditional": control,
                         "nearest_train": nearest},
        },
        "animate": kept | {"motion": 0.98, "all": 0.97},
        "extend": kept | {"continues": 0.95, "backward_continues": 0.9,
                          "backward_known_psnr": 33.0, "backward_own_psnr": 33.05},
        "sample_seconds": np.float32(1.5),
    }  # fmt: skip


def make_examples() -> tuple[Example, ...]:
    clips = draw_clips(3, "train")
    right, wrong = (
        Example(group="seen compositions", prompt=text, video=clip.video, is_right=ok, notes=notes)
        for text, clip, ok, notes in (
            ("a red circle", clips[0], True, ()),
            ("<b>a blue one</b>", clips[1], False, ("motion: not left but right",)),
        )
    )
    strip = np.concatenate([clips[2].video] * 3, axis=2)
    return right, wrong, Example(group=RECONSTRUCTION, prompt="c", video=strip)


def build(workdir, figures=None, **changes):
    evaluation = Evaluation(figures=figures or make_figures(), examples=make_examples())
    wanted = dict(minutes=MINUTES, evaluation=evaluation, dit=DIT, command="sora-jax x", fps=8.0)
    return report.build(workdir, **(wanted | changes))


def test_report_json_has_the_fields_that_tools_read(tmp_path):
    built = build(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == built
    assert list(built) == [
        "minutes", "oracle", "vae", "dit", "toyworld", "animate", "extend", "sample_seconds",
        "machine", "versions", "commit", "command",
    ]  # fmt: skip
    assert built["minutes"]["total"] == 20.0 and set(built["dit"]) == set(DIT)
    assert {"jax", "numpy", "python"} <= set(built["versions"])
    assert set(built["machine"]) == {"cores", "memory", "cpu", "matmul_gflops_f32"}


def test_figures_that_are_missing_or_not_finite_are_not_hidden(tmp_path):
    with pytest.raises(ValueError, match="lack compiles"):
        build(tmp_path, dit={k: v for k, v in DIT.items() if k != "compiles"})
    with pytest.raises(ValueError, match="no run directory"):
        build(tmp_path / "nothing")
    assert build(tmp_path, dit=DIT | {"matmul_share": float("nan")})["dit"]["matmul_share"] is None


def test_page_is_one_file_with_its_videos_inside(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "quick<start>"}')
    build(tmp_path)
    text = (tmp_path / "report.html").read_text()
    links = re.findall(r"(?:src|href)=[\"']([^\"']{1,40})", text)
    assert len(links) == 3 and all(link.startswith("data:video/mp4;base64,") for link in links)
    assert "<script" not in text and "http" not in text
    assert "<b>a blue one" not in text and "&lt;b&gt;a blue one" in text
    assert "quick&lt;start&gt;" in text and "motion: not left but right" in text
    content = re.search(r"base64,([^\"]+)", text)
    video = decode_mp4(base64.b64decode(content[1]))
    assert video.shape == (16, 128, 128, 3)
    error = video[:, 2::4, 2::4].astype(float) - make_examples()[0].video
    assert np.abs(error).mean() < 8
    assert {p.name for p in tmp_path.glob("*.png")} == {"samples.png", "reconstructions.png"}


def test_page_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_VIDEO_BYTES", 1)
    build(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("<video") == 1 and "1 more were left out" in text


def test_goals_are_met_or_not_as_the_figures_are(tmp_path):
    met = goals.check(build(tmp_path))
    assert len(met) == 18 and all(check.is_met for check in met)
    unmet = {
        ("toyworld", "seen", "all"): 0.94, ("toyworld", "heldout", "all"): 0.91,
        ("vae", "psnr"): 29.9, ("oracle", "real"): 0.98, ("oracle", "round_trip"): 0.96,
        ("animate", "motion"): 0.94, ("animate", "known_psnr"): 32.8,
        ("extend", "continues"): 0.89, ("extend", "backward_continues"): 0.84,
        ("extend", "backward_known_psnr"): 32.9, ("vae", "linear_psnr"): 30.5,
        ("toyworld", "controls", "unconditional", "colour"): 0.3,
        ("toyworld", "controls", "nearest_train", "copies"): 0.02,
        ("minutes", "dit"): 12.5, ("minutes", "total"): 26.0,
    }  # fmt: skip
    for (*path, last), value in unmet.items():
        figures = make_figures() | {"minutes": MINUTES | {"total": 20.0}}
        figures = copy.deepcopy(figures)
        node = figures
        for name in path:
            node = node[name]
        node[last] = value
        failed = [c.name for c in goals.check(figures | {"dit": DIT}) if not c.is_met]
        assert len(failed) == 1, (path, last, failed)


def test_the_full_world_is_held_to_its_kinds(tmp_path):
    figures = make_figures()
    full = row(0.9, camera=0.95, light=0.96, change=0.8, decided={"change": 40})
    full["kinds"] = {kind: row(0.92, 40, camera=0.95, change=0.8) for kind in
                     ("one", "two", "camera", "change")}  # fmt: skip
    figures["toyworld"]["heldout"] = full
    figures["toyworld"]["chance"] |= {"camera": 0.5, "light": 0.3, "change": 0.3}
    checks = {c.name: c for c in goals.check(build(tmp_path, figures))}
    assert all(check.is_met for check in checks.values())
    assert checks["held out: light"].interval == goals.interval(full, "light")
    low, high = goals.interval(full, "change")
    assert high - low > 0.2, "the interval is of the 40 clips that have a change"
    assert "held-out: moving camera" in (tmp_path / "report.html").read_text()


def test_controls_above_chance_are_marked(tmp_path):
    figures = make_figures()
    figures["toyworld"]["controls"]["unconditional"] = row(0.2, colour=0.4, all=0.0)
    controls, chance = figures["toyworld"]["controls"], figures["toyworld"]["chance"]
    assert goals.above_chance(controls["unconditional"], chance) == ["colour"]
    assert goals.above_chance(controls["shuffled_captions"], chance) == []
    build(tmp_path, figures)
    assert (tmp_path / "report.html").read_text().count('<td class="number wrong">') == 1


def test_curves_come_from_the_metrics_that_runs_leave(tmp_path):
    lines = [{"step": s, "loss": 1 / (s + 1), "heldout_loss": 0.5} for s in (0, 50, 100, 50, 100)]
    lines[-1]["loss"] = 7.0  # after a resume from step 0
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 150, "lo'
    (tmp_path / "metrics.jsonl").write_text(text)
    found = report.read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in found] == [0, 50, 100] and found[-1]["loss"] == 7.0
    build(tmp_path)
    assert (tmp_path / "report.html").read_text().count("<polyline") == 2


def test_charts_put_points_where_they_belong():
    chart = line_chart({"a": [(0, 1.0), (10, 100.0)]}, x_label="x", y_label="y", is_log=True)
    (points,) = re.findall(r'points="([^"]+)"', chart)
    (x0, y0), (x1, y1) = (map(float, pair.split(",")) for pair in points.split())
    assert x0 < x1 and y0 > y1, "larger values are further right and further up"
    assert line_chart({"a": [], "b": [(0, float("nan"))]}, x_label="x", y_label="y") == ""
    many = [(float(i), 1.0) for i in range(5000)]
    assert log_ticks(-0.05, 1.1) == pytest.approx(np.log10([1, 2, 5, 10]))
    thin = line_chart({"a": many}, x_label="x", y_label="y")
    assert 100 < thin.count(",") < 400
    for low, high in ((0, 1), (0.13, 0.94), (-3, 4000), (1e-6, 3e-6)):
        found = ticks(low, high)
        assert 3 <= len(found) <= 9 and low - 1e-9 <= found[0] and found[-1] <= high * (1 + 1e-9)


def test_own_videos_have_a_report_of_their_own(tmp_path):
    clips = draw_clips(5, "train")
    train = RealClips(captions=("a red circle", "a blue square", "a red circle"),
                      videos=np.stack([c.video for c in clips[:3]]))  # fmt: skip
    heldout = RealClips(captions=("a red circle",) * 2,
                        videos=np.stack([c.video for c in clips[3:]]))  # fmt: skip
    engine = make_engine(tmp_path)
    found = evaluate_clips(engine, SETTINGS, train, heldout, linear_psnr=20.0)
    assert [p["clips"] for p in found.figures["overfit"]["prompts"]] == [2, 1]
    built = build(tmp_path, evaluation=found)
    assert "toyworld" not in built and built["overfit"]["n"] == 2
    text = (tmp_path / "report.html").read_text()
    assert text.count("<video") == 4 and "a blue square" in text and "goals met" not in text


def test_commit_is_that_of_this_source_alone(tmp_path, monkeypatch):
    module = tmp_path / "site-packages" / "sora_jax" / "eval" / "provenance.py"
    (tmp_path / ".git").mkdir()  # a repository around an installed package is not ours
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.commit() is None
