"""What is in a prompt, a picture or a video, before anything is made of it."""

from pathlib import Path
from typing import Any

from sora_jax import media
from sora_jax.errors import UsageError
from sora_jax.generate.elements import read_prompt
from sora_jax.post import measure

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".gif")


def analyze(what: str) -> dict[str, Any]:
    """Elements of a prompt; palette, texture and depth of a picture; shots and motion of a video.

    What ends like the name of a picture or video is one. Raises UsageError if it can't be read.
    """
    suffix = Path(what).suffix.lower()
    if suffix in IMAGES:
        image = media.read_image(what)
        return {
            "kind": "image",
            "size": [image.shape[1], image.shape[0]],
            "palette": measure.palette([image]),
            "texture": measure.texture(image),
            "depth": measure.depth(image),
        }
    if suffix in VIDEOS:
        info = media.probe(what)
        found = measure.shots(media.stream_frames(what, fps=info.fps))
        middles = [shot.middle for shot in found if shot.middle is not None]
        return {
            "kind": "video",
            "frames": found[-1].last + 1,
            "fps": info.fps,
            "seconds": round((found[-1].last + 1) / info.fps, 3),
            "size": [info.width, info.height],
            "shots": [shot.told(info.fps) for shot in found],
            "palette": measure.palette(middles[:64]),
        }
    if not what.strip():
        raise UsageError("there is nothing to look at; give a prompt, a picture or a video")
    return {"kind": "prompt", "elements": read_prompt(what)}
