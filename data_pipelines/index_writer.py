"""Columns of the shape index, written as records come: .npy files that grow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sora_jax.data.index import COLUMNS
from sora_jax.errors import UsageError

_BLOCK = 4096  # records held before they are written


class Column:
    """A .npy file whose first dimension grows; its header is written again at the end."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...] = ()):
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._length = 0
        self._file: BinaryIO = path.open("wb")
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Add entries; `values` has one more dimension than an entry."""
        values = np.ascontiguousarray(values, self._dtype)
        assert values.shape[1:] == self._shape, (values.shape, self._shape)
        self._file.write(values.tobytes())
        self._length += len(values)

    def close(self) -> None:
        """State the length and close the file."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # NumPy pads the header so that the first dimension may become any number in place.
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._length, *self._shape),
            },
        )


class SplitIndexWriter:
    """The index of one split. Memory grows only by the ids, which must be unique."""

    def __init__(self, folder: Path, split: str):
        folder.mkdir(parents=True)
        self._split = split
        self._columns = {
            name: Column(folder / f"{name}.npy", dtype, shape)
            for name, (dtype, shape) in COLUMNS.items()
        }
        self._text = Column(folder / "id.npy", "|u1")
        self._seen: set[str] = set()
        self._id_end = 0
        self._rows: list[Mapping[str, Any]] = []
        self._ids: list[bytes] = []
        self.records = 0
        self.payload_bytes = 0
        self.seconds = 0.0

    def add(self, record_id: str, row: Mapping[str, Any]) -> None:
        """Add a record with its `index.row`. Raises UsageError for an id that was there before."""
        if record_id in self._seen:
            raise UsageError(
                f"split {self._split!r} has two records {record_id!r}; rename or leave out one"
            )
        self._seen.add(record_id)
        content = record_id.encode()
        self._id_end += len(content)
        self._ids.append(content)
        self._rows.append({**row, "id_end": self._id_end})
        self.records += 1
        self.payload_bytes += row["payload_bytes"]
        self.seconds += row["num_frames"] / row["fps"]
        if len(self._rows) == _BLOCK:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Write what is left; the figures of the split for the manifest."""
        self._flush()
        for column in (*self._columns.values(), self._text):
            column.close()
        return {
            "records": self.records,
            "payload_bytes": self.payload_bytes,
            "seconds": round(self.seconds, 3),
        }

    def _flush(self) -> None:
        if not self._rows:
            return
        for name, column in self._columns.items():
            column.append(np.stack([np.asarray(row[name]) for row in self._rows]))
        self._text.append(np.frombuffer(b"".join(self._ids), np.uint8))
        self._rows.clear()
        self._ids.clear()
