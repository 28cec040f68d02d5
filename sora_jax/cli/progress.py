"""Progress with an ETA on standard error: often on a terminal, seldom in a log."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import tqdm

type Progress = Callable[[str, int, int], None]  # what is done, how many, of how many


def bar(title: str, total: int | None, unit: str = "clip") -> tqdm.tqdm:
    """A bar that is moved by `update`."""
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm.tqdm(total=total, desc=title, unit=unit, mininterval=interval, dynamic_ncols=True)


@contextlib.contextmanager
def counted(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for one thing whose total is learned on the way: told (done, total; 0 if not known).

    It appears with the first that is done, so that a mistake is the only line.
    """
    with contextlib.ExitStack() as stack:
        shown: list[tqdm.tqdm] = []

        def progress(done: int, total: int) -> None:
            if not shown:
                shown.append(stack.enter_context(bar(title, total or None, unit)))
            shown[0].total = max(total, done) if total else None
            shown[0].update(done - shown[0].n)

        yield progress


@contextlib.contextmanager
def stages(title: str, unit: str = "clip") -> Iterator[Progress]:
    """A bar for work of several stages, each with its own title and total."""
    with bar(title, None, unit) as shown:

        def progress(stage: str, done: int, total: int) -> None:
            if shown.desc != f"{stage}: ":
                shown.set_description(stage, refresh=False)
                shown.reset(total)
            shown.update(done - shown.n)

        yield progress
