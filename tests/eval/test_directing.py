"""If these fail, the judge of controls calls a control right that does nothing, or the opposite."""

import numpy as np
import pytest

from sora_jax.eval import directing
from sora_jax.eval.finishing import scene
from sora_jax.generate.controls import Controls, direct
from sora_jax.post.view import MOVES, PERSPECTIVES

VIEWS = [*MOVES[1:], *PERSPECTIVES[1:]]


def controls_of(name: str) -> Controls:
    kind = {"camera": MOVES, "perspective": PERSPECTIVES}
    return Controls(**{key: name for key, names in kind.items() if name in names})


def seen(name: str, seed: int = 0) -> np.ndarray:
    clip = scene(seed)
    return direct(controls_of(name), "", ()).finish(clip, len(clip))


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_told_from_all_others_and_from_none(name):
    clip = scene(0)
    assert directing.is_seen_as(name, seen(name), clip)
    assert not directing.is_seen_as(name, clip, clip)
    others = [other for other in VIEWS if other != name]
    if name == "close-up":  # pans and tilts are closer, too: the window is smaller
        others = PERSPECTIVES[2:]
    assert not any(directing.is_seen_as(name, seen(other), clip) for other in others)


@pytest.mark.parametrize(
    ("kind", "tests"), [("style", directing.STYLE_TESTS), ("lighting", directing.LIGHT_TESTS)]
)
def test_a_look_is_told_from_a_clip_without_it(kind, tests):
    clip = scene(0)
    plain = clip.astype(float)
    for name, test in tests.items():
        made = direct(Controls(**{kind: name}), "", ()).finish(clip, len(clip))
        assert test(made.astype(float), plain)
        assert test(plain, plain) == (name == "day")


def test_what_is_elsewhere_or_of_another_outline_is_not_where_it_was():
    clip = np.full((4, 40, 40, 3), 200.0)
    clip[:, 10:20, 10:20] = (30, 60, 220)
    moved, turned = np.roll(clip, 4, axis=2), np.full_like(clip, 200.0)
    turned[:, 10:15, 5:25] = (30, 60, 220)
    assert directing._overlap(clip * 0.4, clip) == 1
    assert directing._overlap(moved, clip) < directing.SAME
    assert directing._overlap(turned, clip) < directing.SAME
