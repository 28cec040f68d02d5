"""Clips of physics scenes as training records. Worker processes start with this."""

import dataclasses
from typing import Any

import numpy as np

from data_pipelines.physics import camera, world
from data_pipelines.physics.captions import captions, read_facts
from data_pipelines.physics.scene import MAX_SECONDS, MIN_SECONDS, Scene, draw_scene
from data_pipelines.physics.world import Motion
from sora_jax import media
from sora_jax.data.schema import VideoRecord
from sora_jax.errors import RunError, UsageError

VERSION = 1  # changes when the same seed gives other clips
SPLITS = ("train", "heldout")  # heldout: compositions that training never has
_TRIES = 200
_INSIDE = 0.7  # of a radius around each centre is in the picture
_WAY = 0.15  # of the picture: the least that a thing which goes left or right goes there
_DIGITS = 4  # of what is stored: a tenth of a millimetre


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhysicsFormat:
    """Geometry of the clips; `size` is (height, width)."""

    size: tuple[int, int]
    num_frames: int
    fps: float
    seed: int = 0

    def __post_init__(self) -> None:
        seconds = self.num_frames / self.fps if self.fps > 0 else 0.0
        if self.seed < 0:
            raise UsageError(f"the seed is {self.seed}; it must not be negative")
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise UsageError(
                f"physics clips of {self.num_frames} frames at {self.fps:g} frames/s last "
                f"{seconds:.2f} s; they must last {MIN_SECONDS:g} to {MAX_SECONDS:g} s"
            )
        if min(self.size) < 16 or max(self.size) > 1024 or any(side % 2 for side in self.size):
            raise UsageError(
                f"physics clips of {self.size[1]}x{self.size[0]} can't be drawn; sides must be "
                "even, 16 to 1024"
            )


def describe(form: PhysicsFormat) -> dict[str, Any]:
    """What determines the clips beside their numbers, for a manifest or a fingerprint."""
    return {"version": VERSION, **dataclasses.asdict(form)}


def make_record(form: PhysicsFormat, split: str, index: int) -> VideoRecord:
    """Clip `index` of a split: the same bytes for the same form, split and index.

    `extra` holds the truth: the scene, the centre of every thing in every frame in metres and in
    pixels, the camera of every frame, and the seconds of contacts. Raises UsageError if MuJoCo or
    OpenGL is missing.
    """
    rng = np.random.default_rng([form.seed, SPLITS.index(split), index])
    scene, motion, cameras = _find(form, split, rng)
    facts = read_facts(scene, motion, form.fps)
    pixels = _views(motion, cameras, form)[..., :2]
    return VideoRecord(
        id=f"physics-{form.seed}-{split}-{index:06d}",
        captions=captions(scene, motion, facts, form.fps, rng),
        fps=form.fps,
        num_frames=form.num_frames,
        height=form.size[0],
        width=form.size[1],
        video=media.encode_mp4(world.render(scene, motion, cameras, form.size), form.fps),
        source="physics",
        licence="CC0-1.0",
        extra={
            "scene": scene.to_json(),
            "facts": dataclasses.asdict(facts),
            "positions": _rounded(motion.positions),
            "pixels": _rounded(pixels),
            "cameras": [_rounded(dataclasses.astuple(pose)) for pose in cameras],
            "landed": list(motion.landed),
            "hit": motion.hit,
        },
    )


def _find(
    form: PhysicsFormat, split: str, rng: np.random.Generator
) -> tuple[Scene, Motion, list[camera.Camera]]:
    """Draw scenes until one shows what its event says, all in the picture."""
    seconds = form.num_frames / form.fps
    for _ in range(_TRIES):
        scene = draw_scene(rng, held_out=split == "heldout", seconds=seconds)
        motion = world.simulate(scene, form.num_frames, form.fps)
        cameras = camera.path(scene.camera, form.num_frames, form.size)
        views = _views(motion, cameras, form)
        if _comes_about(scene, motion, seconds) and _can_be_seen(scene, views, form):
            return scene, motion, cameras
    raise RunError(
        f"no scene of {_TRIES} keeps its things in a picture of {form}; use another size"
    )


def _comes_about(scene: Scene, motion: Motion, seconds: float) -> bool:
    """Whether the event is there to be seen."""
    if scene.event == "drop":
        return all(time is not None and time < 0.8 * seconds for time in motion.landed)
    if scene.event == "collide":
        return motion.hit is not None and 0.15 * seconds < motion.hit < 0.75 * seconds
    way = np.linalg.norm(motion.positions[-1, 0] - motion.positions[0, 0])
    return motion.hit is None and bool(way > 1.1)


def _can_be_seen(scene: Scene, views: np.ndarray, form: PhysicsFormat) -> bool:
    """Whether all is in the picture all the time, goes where it is said to go, and is seen."""
    places, scale = views[..., :2], views[..., 2]
    if scene.direction in ("left", "right"):  # also for a camera that moves
        way = places[-1, 0, 0] - places[0, 0, 0]
        if way * (1 if scene.direction == "right" else -1) < _WAY * form.size[1]:
            return False
    radii = scale * np.array([thing.radius for thing in scene.things])
    inside = (places > _INSIDE * radii[..., None]).all()
    inside &= (places < np.array(form.size[::-1]) - _INSIDE * radii[..., None]).all()
    if len(scene.things) == 1:
        return bool(inside)
    apart = np.linalg.norm(places[:, 0] - places[:, 1], axis=-1)
    nearer = np.where(scale[:, 0] > scale[:, 1], radii[:, 0], radii[:, 1])
    is_seen = apart > 0.9 * nearer
    return bool(inside and is_seen.mean() > 0.7 and is_seen[0] and is_seen[-1])


def _views(motion: Motion, cameras: list[camera.Camera], form: PhysicsFormat) -> np.ndarray:
    """T K 3: where centres fall in the picture, x and y, and pixels a metre there."""
    pairs = zip(cameras, motion.positions, strict=True)
    return np.stack([camera.project(pose, places, form.size) for pose, places in pairs])


def _rounded(values: Any) -> Any:
    if isinstance(values, (tuple, list)):
        return [_rounded(value) for value in values]
    return np.round(values, _DIGITS).tolist()
