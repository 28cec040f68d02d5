"""If these fail, what a prompt is said to speak of is not what it says."""

import pytest

from data_pipelines.toyworld.captions import captions
from sora_jax.data.scene import sample_scene
from sora_jax.generate.elements import ELEMENTS, read_prompt

_ACTIONS = {
    "left": "left",
    "right": "right",
    "up": "up",
    "down": "down",
    "orbit": "circles",
    "bounce": "bounc",
    "rotate": ("spin", "rotat"),
    "grow": ("grow", "bigger"),
}


@pytest.mark.parametrize("level", ["small", "full"])
def test_captions_are_read_back_as_their_scenes(level):
    for seed in range(150):
        scene = sample_scene(level, seed)
        if scene.change is not None:
            continue
        (caption,) = captions(scene, seed)
        found = read_prompt(caption.text)
        things = " / ".join(found["objects"])
        for item in scene.objects:
            assert f"{item.colour} {item.shape}" in things, caption.text
            wanted = _ACTIONS.get(item.motion, ("still", "not", "mov"))
            wanted = (wanted,) if isinstance(wanted, str) else wanted
            said = " / ".join(found["actions"])
            assert any(word in said for word in wanted), (caption.text, found)
        assert len(found["objects"]) == len(scene.objects), (caption.text, found)
        assert found["environment"] == [f"{scene.background} background"], (caption.text, found)
        assert any(scene.light in text for text in found["lighting"]) or scene.light == "day"
        if scene.camera != "still":
            assert found["camera"], caption.text
            way = scene.camera.split()[1]
            assert found["camera"][0].endswith(way), caption.text
        assert not found["unknown"], (caption.text, found)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "An old man walks slowly through a neon-lit street at night, cinematic",
            {
                "objects": ["old man"],
                "actions": ["walks"],
                "environment": ["neon-lit street"],
                "pacing": ["slowly"],
                "lighting": ["at night"],
                "style": ["cinematic"],
            },
        ),
        (
            "low angle: two dogs running on the beach at sunset; calm",
            {
                "objects": ["two dogs"],
                "actions": ["running"],
                "environment": ["beach"],
                "perspective": ["low angle"],
                "lighting": ["sunset"],
                "mood": ["calm"],
            },
        ),
        ("", {}),
        ("qwerty", {"unknown": ["qwerty"]}),
    ],
)
def test_each_element_is_where_it_belongs_and_nothing_else_is(text, wanted):
    found = read_prompt(text)
    assert tuple(found) == ELEMENTS
    assert {name: items for name, items in found.items() if items} == wanted
