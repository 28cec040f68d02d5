"""All steps that finish a video, in the order in which they are done, and sets of them by name."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sora_jax.errors import UsageError, check_name
from sora_jax.post import colour, denoise, flicker, lut, sharpen, stabilise
from sora_jax.post.shots import Frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """What is done; the default of each is nothing. The order is that of the fields."""

    denoise: float | str | None = None  # "auto", or the noise: standard deviation of 255
    deflicker: bool = False
    stabilise: float | bool = False  # True, or how smooth: frames
    white_balance: bool = False
    exposure: float | str | None = None  # "auto", or stops
    warmth: float | None = None  # -1 (blue) to 1 (orange); 0 changes nothing
    contrast: float | None = None  # 1 changes nothing
    saturation: float | None = None  # 1 changes nothing
    lut: str | Path | None = None  # a .cube file
    sharpen: float | str | None = None  # "auto", or the blur: standard deviation in pixels

    @property
    def names(self) -> list[str]:
        """Those that are done."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return [name for name, value in values if value is not None and value is not False]


_AUTO = ("denoise", "exposure", "sharpen")
_MAX_FACTOR = 4.0
PRESETS: dict[str, Steps] = {
    "clean": Steps(denoise="auto", deflicker=True),
    "steady": Steps(deflicker=True, stabilise=True),
    "natural": Steps(white_balance=True, exposure="auto"),
    "vivid": Steps(contrast=1.12, saturation=1.25, sharpen="auto"),
    "soft": Steps(contrast=0.9, saturation=0.85),
    "restore": Steps(
        denoise="auto",
        deflicker=True,
        stabilise=True,
        white_balance=True,
        exposure="auto",
        sharpen="auto",
    ),
}


def make_steps(preset: str | None = None, **wishes: Any) -> Steps:
    """The steps of a preset, changed by `wishes`, of which None and False say nothing.

    Raises UsageError for an unknown preset, naming those there are, and for an unknown step.
    """
    if preset is not None:
        check_name("preset", preset, PRESETS)
    for name in wishes:
        check_name("step", name, [field.name for field in dataclasses.fields(Steps)])
    steps = PRESETS[preset] if preset else Steps()
    said = {k: v for k, v in wishes.items() if v is not None and v is not False}
    return dataclasses.replace(steps, **said)


def finish(frames: Iterable[Frame], steps: Steps) -> Iterator[Frame]:
    """Frames (H W 3 uint8) with all of `steps` done, one out for one in, in constant memory.

    Values are checked here, before the first frame is taken. Raises UsageError.
    """
    _check(steps)
    if steps.denoise is not None:
        frames = denoise.denoise(frames, steps.denoise)
    if steps.deflicker:
        frames = flicker.deflicker(frames)
    if steps.stabilise is not False:
        spread = stabilise.SPREAD if steps.stabilise is True else float(steps.stabilise)
        frames = stabilise.stabilise(frames, spread)
    if steps.white_balance:
        frames = colour.white_balance(frames)
    if steps.exposure is not None:
        frames = colour.expose(frames, steps.exposure)
    if steps.warmth is not None:
        frames = colour.warm(frames, steps.warmth)
    if steps.contrast is not None:
        frames = colour.contrast(frames, steps.contrast)
    if steps.saturation is not None:
        frames = colour.saturate(frames, steps.saturation)
    if steps.lut is not None:
        frames = lut.read_cube(steps.lut).apply(frames)
    if steps.sharpen is not None:
        frames = sharpen.sharpen(frames, steps.sharpen)
    return iter(frames)


def _check(steps: Steps) -> None:
    limits = {
        "denoise": (0.0, denoise.MAX_NOISE),
        "stabilise": (0.5, stabilise.MAX_SPREAD),
        "exposure": (-colour.MAX_STOPS, colour.MAX_STOPS),
        "warmth": (-1.0, 1.0),
        "contrast": (0.0, _MAX_FACTOR),
        "saturation": (0.0, _MAX_FACTOR),
        "sharpen": (0.1, sharpen.MAX_BLUR),
    }
    for name, (low, high) in limits.items():
        value = getattr(steps, name)
        if value is not None and not isinstance(value, bool) and value != colour.AUTO:
            _check_number(name, value, low, high)


def _check_number(name: str, value: float | str, low: float, high: float) -> None:
    try:
        is_within = low <= float(value) <= high
    except (TypeError, ValueError):
        is_within = False
    if not is_within:
        auto = " or auto" if name in _AUTO else ""
        raise UsageError(f"{name} {value} is not a number from {low:g} to {high:g}{auto}")
