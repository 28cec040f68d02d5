"""The ways a command can end badly. Each message is one line: value, limit, remedy."""

import difflib
from collections.abc import Iterable
from typing import Any


class UsageError(ValueError):
    """The person asked for something that can't be done as asked: a bad value, file or option."""

    exit_code = 2


class PolicyError(Exception):
    """A safety gate refused the request."""

    exit_code = 3


class LimitError(ValueError):
    """The request is well formed but past a stated limit (length, size, memory).

    `details` is JSON-able and stands beside the message in the output of `--json`.
    """

    exit_code = 4

    def __init__(self, message: str, **details: Any):
        super().__init__(message)
        self.details = details


class RunError(RuntimeError):
    """The work was started and failed: disk full, non-finite loss, too many broken records.

    `details` is JSON-able and stands beside the message in the output of `--json`.
    """

    exit_code = 5

    def __init__(self, message: str, **details: Any):
        super().__init__(message)
        self.details = details


class Preempted(Exception):
    """The machine is wanted back (SIGTERM). The run was saved; the same command goes on."""

    exit_code = 42


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises UsageError for a name that is not known: with the nearest one, and all there are."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}? There are" if near else "there are"
        raise UsageError(f"no {kind} {name!r}; {hint} {', '.join(names)}")
