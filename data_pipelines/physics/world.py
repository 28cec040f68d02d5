"""A scene as a MuJoCo model: what happens in it, and how it looks."""

import atexit
import dataclasses
import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipelines.physics.camera import FIELD_OF_VIEW, Camera
from data_pipelines.physics.scene import COLOURS, FLOORS, Scene, Thing
from sora_jax.errors import UsageError

_MAX_STEP = 0.0025  # seconds of one step of the simulation
# Drawn larger and averaged: 216 frames of 64x64 a CPU second, 169 with MuJoCo's own anti-aliasing.
_SUPERSAMPLING = 2
_MAX_GEOMS = 64
_LIGHT = {  # direction, brightness, light from everywhere
    "bright": ((0.1, 0.4, -1.0), 0.55, 0.45),
    "dim": ((0.1, 0.4, -1.0), 0.30, 0.32),
    "left": ((1.0, 0.25, -0.75), 0.65, 0.30),
    "right": ((-1.0, 0.25, -0.75), 0.65, 0.30),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """What happened: exact poses of each frame, and when things touched."""

    states: NDArray[np.float64]
    """T Q: MuJoCo's generalised positions."""
    positions: NDArray[np.float64]
    """T K 3: centres of the K things in metres."""
    tilts: NDArray[np.float64]
    """T K: degrees by which the axis that was up is tilted."""
    landed: tuple[float | None, ...]
    """Seconds at which each thing first touched the floor."""
    hit: float | None
    """Seconds at which two things first touched."""


def simulate(scene: Scene, num_frames: int, fps: float) -> Motion:
    """Run a scene; frame 0 is its start."""
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(_xml(scene))
    data = mujoco.MjData(model)
    steps = math.ceil(1 / fps / _MAX_STEP)
    model.opt.timestep = 1 / fps / steps
    _start(scene, model, data)
    mujoco.mj_forward(model, data)
    states, positions, axes = [], [], []
    landed: list[float | None] = [None] * len(scene.things)
    hit: float | None = None
    for frame in range(num_frames):
        states.append(data.qpos.copy())
        positions.append(data.xpos[1:].copy())
        axes.append(data.xmat[1:].reshape(-1, 3, 3)[:, :, 2].copy())
        for _ in range(steps if frame + 1 < num_frames else 0):
            mujoco.mj_step(model, data)
            for first, second in data.contact.geom[: data.ncon]:
                if first == 0:  # the floor; the things follow in their order
                    landed[second - 1] = _earlier(landed[second - 1], data.time)
                else:
                    hit = _earlier(hit, data.time)
    first_axes = np.asarray(axes[0])
    cosines = np.einsum("tki,ki->tk", np.asarray(axes), first_axes)
    return Motion(
        states=np.asarray(states),
        positions=np.asarray(positions),
        tilts=np.degrees(np.arccos(np.clip(cosines, -1, 1))),
        landed=tuple(landed),
        hit=hit,
    )


def render(
    scene: Scene, motion: Motion, cameras: list[Camera], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw the frames of a motion, T H W 3; `size` is (height, width).

    Raises UsageError if MuJoCo or an OpenGL library is missing.
    """
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(_xml(scene))
    data = mujoco.MjData(model)
    studio = _studio(size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING)
    picture = mujoco.MjvScene(model, _MAX_GEOMS)
    picture.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = True
    frames = []
    for state, camera in zip(motion.states, cameras, strict=True):
        data.qpos[:] = state
        mujoco.mj_forward(model, data)
        large = studio.draw(model, data, picture, camera)
        frames.append(cv2.resize(large, size[::-1], interpolation=cv2.INTER_AREA))
    return np.stack(frames)


def load_mujoco() -> Any:
    """The module. Raises UsageError that says how to get it, or the OpenGL that it looks for."""
    try:
        import mujoco
    except ImportError as error:
        raise UsageError(
            f"physics needs MuJoCo ({error}); install it: pip install 'sora_jax[data]'"
        ) from error
    except (AttributeError, OSError, RuntimeError) as error:
        raise _no_opengl(error) from error
    return mujoco


def _no_opengl(error: Exception) -> UsageError:
    reason = " ".join(str(error).split())
    return UsageError(
        f"MuJoCo finds no OpenGL to draw with ({reason}); install it (Debian: apt-get install "
        "libegl1 libgl1-mesa-dri libosmesa6) and set MUJOCO_GL to egl or osmesa"
    )


class _Studio:
    """An OpenGL context without a window. Making one takes as long as drawing fifty frames.

    It holds textures, which are the same in all scenes, so it serves the model of any scene.
    """

    def __init__(self, height: int, width: int):
        mujoco = load_mujoco()
        try:
            from mujoco.gl_context import GLContext

            self._context = GLContext(width, height)
            self._context.make_current()
            plain = Thing(shape="ball", colour="red", size="big", position=(0, 0, 1))
            scene = Scene(
                event="drop",
                things=(plain,),
                direction="down",
                floor="gray",
                light="bright",
                camera="still",
                seconds=1.0,
            )
            model = mujoco.MjModel.from_xml_string(_xml(scene, (height, width)))
            self._renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        except (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError) as error:
            raise _no_opengl(error) from error
        atexit.register(self._context.free)  # before the library that it belongs to is gone
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FREE

    def draw(self, model: Any, data: Any, picture: Any, camera: Camera) -> NDArray[np.uint8]:
        """One frame, H W 3."""
        mujoco = load_mujoco()
        self._camera.lookat[:] = camera.target
        self._camera.distance = camera.distance
        self._camera.azimuth, self._camera.elevation = camera.azimuth, camera.elevation
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, None, self._camera, everything, picture)
        self._context.make_current()
        mujoco.mjr_render(self._rect, picture, self._renderer)
        frame = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_readPixels(frame, None, self._rect, self._renderer)
        return frame[::-1]


@functools.cache
def _studio(height: int, width: int) -> _Studio:
    return _Studio(height, width)


def _start(scene: Scene, model: Any, data: Any) -> None:
    """Set positions, orientations and velocities of the start."""
    for i, thing in enumerate(scene.things):
        q, v = model.jnt_qposadr[i], model.jnt_dofadr[i]
        data.qpos[q : q + 3] = thing.position
        data.qpos[q + 3 : q + 7] = _orientation(thing)
        data.qvel[v : v + 3] = thing.velocity
        if thing.shape == "ball" or thing.is_lying:  # it rolls without slipping
            radius = thing.position[2] - 0.002
            turn = np.cross((0, 0, 1), thing.velocity) / radius if scene.event != "drop" else 0
            # Angular velocity is in the thing's own frame; the axis y is that of the world.
            data.qvel[v + 3 : v + 6] = _to_own_frame(thing, turn)


def _orientation(thing: Thing) -> NDArray:
    """Quaternion: lying turns the axis z to y, tilting is about y, then the turn about z."""
    half = math.pi / 4 if thing.is_lying else 0.0
    lying = np.array([math.cos(half), -math.sin(half), 0, 0])
    tilt = np.array([math.cos(thing.tilt / 2), 0, math.sin(thing.tilt / 2), 0])
    yaw = np.array([math.cos(thing.yaw / 2), 0, 0, math.sin(thing.yaw / 2)])
    return _product(yaw, _product(tilt, lying))


def _to_own_frame(thing: Thing, vector: Any) -> NDArray:
    w, *axis = _orientation(thing)
    inverse = np.array([w, *(-np.asarray(axis))])
    pure = np.concatenate([[0.0], np.broadcast_to(vector, 3)])
    turned = _product(_product(inverse, pure), _orientation(thing))
    return turned[1:]


def _product(p: NDArray, q: NDArray) -> NDArray:
    """Hamilton product of two quaternions."""
    (a, *u), (b, *v) = p, q
    return np.array(
        [a * b - np.dot(u, v), *(a * np.asarray(v) + b * np.asarray(u) + np.cross(u, v))]
    )


def _earlier(time: float | None, now: float) -> float:
    return now if time is None else time


def _xml(scene: Scene, buffer: tuple[int, int] = (16, 16)) -> str:
    """The model in MJCF. Textures are the same in all scenes; `buffer` is (height, width)."""
    direction, brightness, ambient = _LIGHT[scene.light]
    # Shadows are cast within a square around the light's axis: let it meet the floor in the middle.
    place = tuple(-4.0 * value / np.linalg.norm(direction) for value in direction)
    floor = 'material="checkered"' if scene.floor == "checkered" else _rgba(FLOORS[scene.floor])
    things = "".join(_body(thing) for thing in scene.things)
    return f"""
<mujoco>
  <visual>
    <global offheight="{buffer[0]}" offwidth="{buffer[1]}" fovy="{FIELD_OF_VIEW}"/>
    <quality shadowsize="1024" offsamples="0"/>
    <map znear="0.05" zfar="60" shadowclip="2.5"/>
    <headlight ambient="{ambient} {ambient} {ambient}" diffuse="0 0 0" specular="0 0 0"/>
  </visual>
  <statistic center="0 0 0.5" extent="1"/>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" width="64" height="384"
      rgb1="0.62 0.70 0.80" rgb2="0.86 0.89 0.93"/>
    <texture name="checks" type="2d" builtin="checker" width="128" height="128"
      rgb1="0.85 0.85 0.85" rgb2="0.35 0.35 0.35"/>
    <material name="checkered" texture="checks" texrepeat="0.8 0.8" texuniform="true"
      specular="0" shininess="0"/>
    <material name="plain" specular="0.25" shininess="0.4"/>
    <material name="matt" specular="0" shininess="0"/>
  </asset>
  <worldbody>
    <light directional="true" dir="{_numbers(direction)}" pos="{_numbers(place)}" castshadow="true"
      diffuse="{brightness} {brightness} {brightness}" specular="0.3 0.3 0.3"/>
    <geom type="plane" size="30 30 1" {floor} friction="0.6 0.005 0.0001"/>
    {things}
  </worldbody>
</mujoco>"""


def _body(thing: Thing) -> str:
    radius = thing.radius
    size = {
        "ball": (radius,),
        "cube": (0.85 * radius,) * 3,
        "cylinder": (0.8 * radius, radius),
        "capsule": (0.6 * radius, 0.6 * radius),
    }[thing.shape]
    kind = {"ball": "sphere", "cube": "box"}.get(thing.shape, thing.shape)
    # A cube slides far; a damping ratio below 1 makes things bounce.
    friction = "0.02 0.005 0.0001" if thing.shape == "cube" and any(thing.velocity) else "0.6"
    density = 900 if any(thing.velocity) else 300  # what runs into a thing moves it
    bounce = 0.18 if thing.shape == "ball" else 0.6
    return (
        f'<body><freejoint/><geom type="{kind}" size="{_numbers(size)}" material="plain" '
        f'{_rgba(COLOURS[thing.colour])} density="{density}" friction="{friction}" '
        f'priority="1" solref="0.02 {bounce}"/></body>'
    )


def _rgba(colour: tuple[float, float, float]) -> str:
    return f'rgba="{_numbers(colour)} 1"'


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
