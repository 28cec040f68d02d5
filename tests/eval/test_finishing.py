"""If these fail, a finishing step can be called good that mends nothing, or spoils a clean clip."""

import numpy as np
import pytest

from sora_jax.eval import finishing


@pytest.fixture(scope="module")
def line():
    return finishing.judge_post()[0]


def test_every_step_mends_its_defect_and_leaves_a_clean_clip(line):
    assert line["ok"]
    for name, left in finishing.MAX_LEFT.items():
        assert line[name]["after"] <= left * line[name]["before"]
        assert line[name]["clean_psnr"] >= finishing.MIN_CLEAN


def test_a_step_that_does_nothing_or_too_much_is_not_good(monkeypatch):
    monkeypatch.setattr(finishing, "finish", lambda video, wishes: video)
    assert not finishing.judge_post()[0]["ok"]
    monkeypatch.setattr(finishing, "finish", lambda video, wishes: np.full_like(video, 127))
    assert not finishing.judge_post()[0]["ok"]
