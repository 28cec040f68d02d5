"""Motions read off tracks: does a measured path do what a motion word says, in every frame?"""

from __future__ import annotations

import dataclasses

import numpy as np

from sora_jax.data.motion import DIRECTIONS

MIN_FRAMES = 4
# Accepted rates per frame, in the units of `Object.rate`, and where fast begins.
RATE_LIMITS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(DIRECTIONS, (0.4, 3.2)),
    "grow": (0.014, 0.080),
    "orbit": (0.12, 0.65),
    "bounce": (0.045, 0.19),
    "rotate": (0.045, 0.26),
}
FAST: dict[str, float] = {
    **dict.fromkeys(DIRECTIONS, 1.42),
    "grow": 0.036,
    "orbit": 0.31,
    "bounce": 0.095,
    "rotate": 0.122,
}
PIXELS = 1.3  # a centre may be this far from where the motion puts it
GROWTH = 0.14  # log radius that may change in a motion that is no growth
TURN = 16.0  # degrees that a shape may lean when it does not rotate


@dataclasses.dataclass(frozen=True)
class Path:
    """A measured object: centre (pixels), radius (pixels) and unwrapped turn (degrees), each [T].

    `can_turn` is False for shapes that look the same at any angle.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    turn: np.ndarray
    can_turn: bool = True


@dataclasses.dataclass(frozen=True)
class Fit:
    """How well a path follows a motion: `rate` as in `Object.rate`, `fault` empty if it does."""

    rate: float
    fault: str = ""


def fit_motion(path: Path, motion: str) -> Fit:
    """Check that a path follows one motion through all of its frames."""
    if len(path.x) < MIN_FRAMES:
        raise ValueError(f"{len(path.x)} frames are too few to see a motion: give {MIN_FRAMES}")
    if not all(np.isfinite(v).all() for v in (path.x, path.y, path.radius, path.turn)):
        return Fit(0.0, "the object is missing in some frames")
    fit = _FITS[motion](path, motion)
    if fit.fault:
        return fit
    if motion in RATE_LIMITS:
        low, high = RATE_LIMITS[motion]
        if not low <= fit.rate <= high:
            return Fit(fit.rate, f"{motion} at rate {fit.rate:.3f}, not {low} to {high}")
    if motion != "grow" and np.ptp(np.log(path.radius)) > 2 * GROWTH:
        return Fit(fit.rate, "the size changes")
    if motion != "grow" and abs(_slope(np.log(path.radius))) * len(path.x) > GROWTH:
        return Fit(fit.rate, "the size drifts")
    if motion != "rotate" and path.can_turn and np.abs(path.turn).max() > TURN:
        return Fit(fit.rate, "the object leans or turns")
    return fit


def read_motion(path: Path) -> str:
    """Name the motion that a path follows, or "unclear"."""
    fits = (motion for motion in _FITS if not fit_motion(path, motion).fault)
    return next(fits, "unclear")


def read_speed(motion: str, rate: float) -> str:
    """Name the speed of a motion at a rate; "none" for a motion without speeds."""
    if motion not in FAST:
        return "none"
    return "fast" if rate > FAST[motion] else "slow"


def _slope(values: np.ndarray) -> float:
    frame = np.arange(len(values)) - (len(values) - 1) / 2
    return float(frame @ values / (frame @ frame))


def _steady(values: np.ndarray, slack: float) -> Fit:
    """Check that values change at one rate: a straight line, and no part of it at rest."""
    count, rate = len(values), _slope(values)
    line = values.mean() + rate * (np.arange(count) - (count - 1) / 2)
    if np.abs(values - line).max() > slack:
        return Fit(rate, "the change is uneven")
    width = min(5, count)
    parts = [_slope(values[i : i + width]) for i in range(count - width + 1)]
    if min(part * np.sign(rate) for part in parts) < 0.4 * abs(rate):
        return Fit(rate, "the change stops on the way")
    return Fit(rate)


def _rest(path: Path) -> str:
    """Say why a path is not at one place, or nothing."""
    for name, values in (("x", path.x), ("y", path.y)):
        if np.abs(values - np.median(values)).max() > PIXELS:
            return f"the object moves along {name}"
        if abs(_slope(values)) * (len(values) - 1) > PIXELS:
            return f"the object drifts along {name}"
    return ""


def _fit_line(path: Path, motion: str) -> Fit:
    step_x, step_y = DIRECTIONS[motion]
    along = path.x * step_x + path.y * step_y
    across = path.x * step_y + path.y * step_x
    fit = _steady(along, PIXELS)
    if fit.fault:
        return fit
    length = fit.rate * (len(along) - 1)
    if abs(_slope(across)) * (len(along) - 1) > max(PIXELS, 0.2 * abs(length)):
        return Fit(fit.rate, "the object moves aslant")
    if np.abs(across - across.mean()).max() > max(PIXELS, 0.2 * abs(length)):
        return Fit(fit.rate, "the path is crooked")
    return fit


def _fit_still(path: Path, motion: str) -> Fit:
    return Fit(0.0, _rest(path))


def _fit_grow(path: Path, motion: str) -> Fit:
    fit = _steady(np.log(path.radius), 0.1)
    return fit if fit.fault else Fit(fit.rate, _rest(path))


def _fit_rotate(path: Path, motion: str) -> Fit:
    if not path.can_turn:
        return Fit(0.0, "no turn can be seen on this shape")
    fit = _steady(np.radians(path.turn), np.radians(12))
    return Fit(abs(fit.rate), fit.fault or _rest(path))


def _fit_orbit(path: Path, motion: str) -> Fit:
    """Fit a circle by least squares, then a steady turn around its centre."""
    design = np.stack([path.x, path.y, np.ones(len(path.x))], 1)
    solution = np.linalg.lstsq(design, path.x**2 + path.y**2, rcond=None)[0]
    centre_x, centre_y = solution[:2] / 2
    radius = np.hypot(path.x - centre_x, path.y - centre_y)
    if not 5 < radius.mean() < 25:
        return Fit(0.0, f"the orbit's radius is {radius.mean():.1f} pixels, not 5 to 25")
    if np.abs(radius - radius.mean()).max() > PIXELS + 0.05 * radius.mean():
        return Fit(0.0, "the path is no circle")
    phase = np.unwrap(np.arctan2(path.y - centre_y, path.x - centre_x))
    fit = _steady(phase, 0.25)
    return Fit(abs(fit.rate), fit.fault)


def _fit_bounce(path: Path, motion: str) -> Fit:
    """Fit floor - height * |sin(pi (rate t + phase))| over a grid of rates and phases."""
    rates = np.linspace(0.045, 0.17, 51)[:, None, None]
    phases = np.linspace(0, 1, 20, endpoint=False)[None, :, None]
    arcs = np.abs(np.sin(np.pi * (rates * np.arange(len(path.y)) + phases)))
    arcs_mean = arcs.mean(-1, keepdims=True)
    height = path.y.mean() - path.y
    size = (arcs - arcs_mean) @ height / ((arcs - arcs_mean) ** 2).sum(-1).clip(1e-6)
    rest = np.abs(size[..., None] * (arcs - arcs_mean) - height).max(-1)
    best = np.unravel_index(np.argmin(rest + 100 * ((size < 8) | (size > 40))), rest.shape)
    rate = float(rates[best[0], 0, 0])
    if not 8 <= size[best] <= 40:
        return Fit(rate, "the object does not bounce")
    if rest[best] > 1.2 * PIXELS + 0.04 * size[best]:
        return Fit(rate, "the path is no bounce")
    if np.abs(path.x - np.median(path.x)).max() > PIXELS:
        return Fit(rate, "the object moves along x")
    return Fit(rate)


_FITS = {
    **dict.fromkeys(DIRECTIONS, _fit_line),
    "still": _fit_still,
    "grow": _fit_grow,
    "rotate": _fit_rotate,
    "bounce": _fit_bounce,
    "orbit": _fit_orbit,
}
