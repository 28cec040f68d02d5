"""Clips of the toy world as training records. Light imports: worker processes start with this."""

from data_pipelines.toyworld import captions, render
from sora_jax import media
from sora_jax.data.scene import sample_scene
from sora_jax.data.schema import Caption, VideoRecord

SPLITS = ("train", "seen", "heldout")  # seen: new scenes of compositions that training has
_TEST_SEED = 10**6  # scenes of the test splits have seeds from here on


def make_record(level: str, split: str, index: int) -> VideoRecord:
    """Clip `index` of a split, with its scene in `extra["scene"]`."""
    seed = index + (0 if split == "train" else _TEST_SEED)
    scene = sample_scene(level, seed, split="heldout" if split == "heldout" else "train")
    texts = captions.captions(scene, seed)
    return VideoRecord(
        id=f"{split}-{index:06d}",
        captions=tuple(Caption(text.text, text.start, text.end) for text in texts),
        fps=float(scene.fps),
        num_frames=scene.num_frames,
        height=scene.size,
        width=scene.size,
        video=media.encode_mp4(render.render(scene), scene.fps),
        source="toyworld",
        licence="CC0-1.0",
        extra={"scene": scene.to_json()},
    )
