"""Scenes to pixels: anti-aliased by signed distance, numpy only."""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.data.backdrop import checker, lit_background, lit_thing
from sora_jax.data.motion import Object, camera_path, track
from sora_jax.data.scene import COLOURS, INK, LIGHTS, Scene, get_level
from sora_jax.data.shapes import distance

OUTLINE = 0.16  # of the radius


def render(scene: Scene) -> np.ndarray:
    """Draw the clip, uint8 T H W 3."""
    if scene.change is None:
        return _render_span(scene, 0, scene.num_frames)
    after = _after_change(scene)
    cut = scene.cut_frame
    return np.concatenate([_render_span(scene, 0, cut), _render_span(after, cut, scene.num_frames)])


def _after_change(scene: Scene) -> Scene:
    """Return the scene as it looks after its cut; motions go on where they were."""
    change = scene.change
    assert change is not None
    item = dataclasses.replace(scene.objects[0], shape=change.shape, colour=change.colour)
    return dataclasses.replace(scene, objects=(item,), background=change.background, change=None)


def _render_span(scene: Scene, start: int, stop: int) -> np.ndarray:
    """Draw frames [start, stop) of a scene without regard to its change."""
    whole_shift, whole_zoom = camera_path(scene.camera, scene.num_frames)
    shift, zoom = whole_shift[start:stop], whole_zoom[start:stop]
    video = _background(scene, shift, zoom)
    video = np.broadcast_to(video, (stop - start, *video.shape[1:])).copy()
    for item in scene.objects:
        _paint(video, scene, item, (start, stop), (shift, zoom))
    return np.clip(video + 0.5, 0, 255).astype(np.uint8)


def _paint(
    video: np.ndarray,
    scene: Scene,
    item: Object,
    span: tuple[int, int],
    camera: tuple[np.ndarray, np.ndarray],
) -> None:
    """Paint one object over `video` (float32 T H W 3) in place, inside its box only."""
    shift, zoom = camera
    path = track(item, scene.num_frames)
    middle = scene.size / 2
    x = middle + (path.x[slice(*span)] - middle) * zoom + shift
    y = middle + (path.y[slice(*span)] - middle) * zoom
    radius, turn = path.radius[slice(*span)] * zoom, path.turn[slice(*span)]
    reach = 1.25 * radius + 1
    left, top = (max(int(np.min(centre - reach)), 0) for centre in (x, y))
    right, bottom = (int(np.max(centre + reach)) + 1 for centre in (x, y))
    window = video[:, top:bottom, left:right]
    grid = (
        left + np.arange(window.shape[2], dtype=np.float64) + 0.5,
        top + np.arange(window.shape[1], dtype=np.float64) + 0.5,
    )
    gap = distance(item.shape, grid, (x, y), radius, turn)
    if scene.style == "outlined":
        _blend(window, gap, lit_thing(INK[scene.background], scene.light))
        gap = gap + (OUTLINE * radius).astype(np.float32)[:, None, None]
    _blend(window, gap, lit_thing(COLOURS[item.colour], scene.light))


def _blend(window: np.ndarray, gap: np.ndarray, colour: np.ndarray) -> None:
    """Lay `colour` [3] over `window` in place where the signed distance `gap` is negative."""
    cover = np.clip(0.5 - gap, 0, 1)[..., None]
    window += cover * (colour - window)


def _background(scene: Scene, shift: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """Draw the background, float32 T H W 3, or one frame of it under a still camera."""
    base = lit_background(scene.background, scene.light, scene.size)[None, :, None]
    if not get_level(scene.level).is_textured:
        return np.broadcast_to(base, (1, scene.size, scene.size, 3))
    if scene.camera == "still":
        shift, zoom = shift[:1], zoom[:1]
    texture = checker(scene.size, shift, zoom)[..., None]
    return np.clip(base + LIGHTS[scene.light].contrast * texture, 0, 255)
