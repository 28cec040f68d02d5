"""Writing files so that a reader never sees half of one."""

import contextlib
import errno
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sora_jax.errors import RunError, UsageError


def check_folder(path: str | Path) -> Path:
    """`path` as a Path, after checking that the folder it would be written in exists."""
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: folder {path.parent} does not exist; create it")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    return path


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with writing(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[io.BufferedRandom]:
    """A file to write, piece by piece, which is whole or not at all."""
    with replacing(path) as temporary, temporary.open("w+b") as file:
        yield file


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The name of a file to write, for what needs a name; it is whole or not at all.

    It is a temporary file beside `path`, renamed when the block ends well and removed otherwise.
    """
    path = check_folder(path)
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files only the owner can read; use what the umask would have given.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn a failure of the file system inside the block into a one-line RunError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "no space left on the disk; free some and run the same command again"
        else:
            remedy = error.strerror or str(error)
        raise RunError(f"cannot write {path}: {remedy}") from error
