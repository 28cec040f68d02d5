"""Colour tables: .cube files (Adobe Cube LUT Specification 1.0) and what they do to pictures."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError
from sora_jax.post.shots import Frame

_MAX_SIZE = {"LUT_1D_SIZE": 65536, "LUT_3D_SIZE": 128}
_MAX_BYTES = 2**27
_ROWS = 2**18  # pixels that are looked up at once


@dataclasses.dataclass(frozen=True)
class Lut:
    """A table of RGB values in [0, 1], N 3 (a curve for each channel) or N N N 3 (red first)."""

    table: NDArray[np.float32]
    low: NDArray[np.float32]  # 3: the value that the first entry stands for
    high: NDArray[np.float32]  # 3: that of the last one

    def apply(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Look every pixel up, linear between entries; values outside of the domain are its end."""
        size = self.table.shape[0]
        levels = (np.arange(256, dtype=np.float32)[:, None] / 255 - self.low) / (
            self.high - self.low
        )
        places = np.clip(levels, 0, 1) * (size - 1)  # of each byte of each channel
        if self.table.ndim == 2:
            curves = [np.interp(places[:, c], np.arange(size), self.table[:, c]) for c in range(3)]
            curve = np.clip(np.round(np.stack(curves, -1) * 255), 0, 255).astype(np.uint8)
            for frame in frames:
                yield np.stack([curve[frame[..., c], c] for c in range(3)], -1)
            return
        lower = np.minimum(places.astype(np.int64), size - 2)
        share = places - lower
        for frame in frames:
            flat = frame.reshape(-1, 3)
            out = np.empty_like(flat)
            for start in range(0, len(flat), _ROWS):
                piece = slice(start, start + _ROWS)
                out[piece] = self._between(flat[piece], lower, share)
            yield out.reshape(frame.shape)

    def _between(self, pixels, lower, share) -> NDArray[np.uint8]:
        """Mix the eight entries around each pixel (N 3)."""
        size = self.table.shape[0]
        table = self.table.reshape(-1, 3)
        channels = range(3)
        at = [lower[pixels[:, c], c] for c in channels]
        far = [share[pixels[:, c], c][:, None] for c in channels]
        base = (at[0] * size + at[1]) * size + at[2]
        mixed = np.zeros((len(pixels), 3), np.float32)
        for corner in range(8):
            step = [corner >> bit & 1 for bit in (2, 1, 0)]
            offset = (step[0] * size + step[1]) * size + step[2]
            weight = np.prod([far[c] if step[c] else 1 - far[c] for c in channels], axis=0)
            mixed += weight * table[base + offset]
        return np.clip(np.round(mixed * 255), 0, 255).astype(np.uint8)


def read_cube(path: str | Path) -> Lut:
    """Read a .cube file. Raises UsageError that says which line is wrong."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no colour table {path}; name a .cube file")
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size} bytes, over {_MAX_BYTES}; no .cube is")
    try:
        lines = path.read_text(encoding="ascii", errors="strict").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no .cube file: it is not text; export the table again") from (
            error
        )
    sizes: dict[str, int] = {}
    domain = {"DOMAIN_MIN": np.zeros(3, np.float32), "DOMAIN_MAX": np.ones(3, np.float32)}
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words or words[0] == "TITLE":
            continue
        where = f"line {number} of {path}"
        if words[0] in _MAX_SIZE:
            sizes[words[0]] = _size(words, where)
        elif words[0] in domain:
            domain[words[0]] = np.array(_numbers(words[1:], where), np.float32)
        elif words[0][0].isalpha() and words[0].lower() not in ("nan", "inf"):
            raise UsageError(f"{where} begins with {words[0]!r}, which no .cube file has")
        else:
            rows.append(_numbers(words, where))
    if len(sizes) != 1:
        raise UsageError(f"{path} must have one of {' and '.join(_MAX_SIZE)}, and has {len(sizes)}")
    (kind, size), low, high = sizes.popitem(), domain["DOMAIN_MIN"], domain["DOMAIN_MAX"]
    wanted = size**3 if kind == "LUT_3D_SIZE" else size
    if len(rows) != wanted:
        raise UsageError(
            f"{path} has {len(rows)} rows and {kind} {size} needs {wanted}; export the table again"
        )
    if not (low < high).all():
        raise UsageError(f"{path} has a domain that ends where it begins, {low} to {high}")
    table = np.array(rows, np.float32)
    if kind == "LUT_3D_SIZE":  # red varies fastest in the file
        table = np.ascontiguousarray(table.reshape(size, size, size, 3).transpose(2, 1, 0, 3))
    return Lut(table, low, high)


def _size(words: list[str], where: str) -> int:
    high = _MAX_SIZE[words[0]]
    if len(words) != 2 or not words[1].isdigit() or not 2 <= int(words[1]) <= high:
        raise UsageError(f"{where} must be {words[0]} and a number from 2 to {high}")
    return int(words[1])


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        raise UsageError(f"{where} is {' '.join(words)[:40]!r} and not three numbers")
    return values
