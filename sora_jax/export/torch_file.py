"""Arrays of a PyTorch file of before version 1.6, read as data.

Such a file holds pickles, and unpickling runs whatever a file names. Here the pickle's instructions
are only looked at: a handful of them are understood, they make plain values, and nothing that the
file names is ever imported or called. Any other instruction is an error.

The file: a magic number, a version, facts of the machine, the values, the names of the storages
(five pickles), then each storage as its number of values (int64) and the values, little-endian.
"""

import dataclasses
import io
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_jax.errors import UsageError

_MAGIC = 0x1950A86A20F9469CFC6C
_TYPES: dict[str, np.dtype] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
}
_TENSOR = "torch._utils _rebuild_tensor_v2"
_TABLE = "collections OrderedDict"
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclasses.dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name, in PyTorch's layout. Raises UsageError."""
    file = io.BytesIO(path.read_bytes())
    try:
        magic, _version, _machine, values, keys = (_plain(file) for _ in range(5))
        if magic != _MAGIC:
            raise ValueError("its first number is another")
        data = _storages(file, values, keys)
        return {
            name: _array(value, data[value.storage.key])
            for name, value in values.items()
            if isinstance(value, _Tensor)
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a PyTorch file of plain arrays from before version 1.6 ({error}); "
            "convert it to safetensors"
        ) from error


def _storages(file: io.BytesIO, values: dict, keys: list[str]) -> dict[str, NDArray[Any]]:
    types = {v.storage.key: v.storage.dtype for v in values.values() if isinstance(v, _Tensor)}
    found = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        raw = file.read(count * types[key].itemsize)
        if len(raw) != count * types[key].itemsize:
            raise ValueError(f"it ends within the {count} values of storage {key}")
        found[key] = np.frombuffer(raw, types[key])
    return found


def _array(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """The tensor's view of its storage, which may be in another order of dims."""
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    if min(tensor.offset, *tensor.strides, 0) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {tensor.shape} reaches over its {len(storage)} values")
    steps = [s * storage.itemsize for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps)
    return view.copy()


def _plain(file: io.BytesIO) -> Any:
    """The value that the next pickle of `file` describes, by the few instructions known here."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for code, value, _ in pickletools.genops(file):
        name = code.name
        if name in _VALUES:
            stack.append(value)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "GLOBAL":
            if value not in (_TENSOR, _TABLE, *_TYPES):
                raise ValueError(f"it names {value!r}")
            stack.append(value)
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name in ("APPEND", "APPENDS"):
            items = since_mark() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "BINPERSID":
            kind, storage_type, key, *_ = stack.pop()  # then the device and a count
            if kind != "storage":
                raise ValueError(f"it refers to a {kind!r}")
            stack.append(_Storage(_TYPES[storage_type], key))
        elif name == "REDUCE":
            arguments, made = stack.pop(), stack.pop()
            stack.append(_Tensor(*arguments[:4]) if made == _TENSOR else dict(*arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of a table: versions of layers
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise ValueError(f"it has the instruction {name}")
    raise ValueError("it ends early")
