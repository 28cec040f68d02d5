"""Processes that apply a stage to records, and outlive neither their parent nor a bad file.

A decoder that crashes takes its process with it. The records that were in work are then tried one
by one, and the one that crashes again is rejected; the rest goes on.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool

import cv2

from data_pipelines import pipeline
from data_pipelines.journal import Entry
from data_pipelines.records import ClipRecord, Stage

type Done = Iterator[tuple[ClipRecord, Entry]]


class Crew:
    """Some processes that stay for all stages of a run; used as a context manager.

    They are fresh ones (a fork of a process that runs JAX may hang), and start when needed.
    """

    def __init__(self, processes: int):
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        self._dismiss()

    def apply_all(self, stage: Stage, found: Iterable[ClipRecord]) -> Done:
        """Each record with what the stage makes of it, as they get ready."""
        waiting = deque(found)
        while waiting:
            in_work: dict[Future, ClipRecord] = {}
            self._pool = self._pool or _pool(self._processes)
            try:
                yield from _drain(self._pool, stage, waiting, in_work, 2 * self._processes)
            except BrokenProcessPool:
                self._dismiss()
                for record in list(in_work.values()):
                    yield record, _alone(stage, record)

    def _dismiss(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def apply_threads(stage: Stage, found: Iterable[ClipRecord], workers: int) -> Done:
    """As `Crew.apply_all`, in threads of this process: for stages that wait for a server."""
    with ThreadPoolExecutor(workers) as pool:
        yield from _drain(pool, stage, deque(found), {}, 2 * workers)


def timed_apply(stage: Stage, record: ClipRecord) -> Entry:
    """`pipeline.apply` with the seconds it took."""
    started = time.perf_counter()
    out = pipeline.apply(stage, record)
    return Entry(out, time.perf_counter() - started)


def _drain(
    pool: Executor,
    stage: Stage,
    waiting: deque[ClipRecord],
    in_work: dict[Future, ClipRecord],
    most: int,
) -> Done:
    """Keep at most `most` records in work, so that few are suspect when a process dies."""
    while waiting or in_work:
        while waiting and len(in_work) < most:
            record = waiting.popleft()
            in_work[pool.submit(timed_apply, stage, record)] = record
        for future in wait(in_work, return_when=FIRST_COMPLETED).done:
            entry = future.result()
            yield in_work.pop(future), entry


def _alone(stage: Stage, record: ClipRecord) -> Entry:
    pool = _pool(1)
    try:
        return pool.submit(timed_apply, stage, record).result()
    except BrokenProcessPool:
        reason = f"{record.source} ends the process of the stage {stage.name}; leave it out"
        return Entry([record.reject("crash", reason)], 0.0)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (os.getpid(),)
    )


def _begin(parent: int) -> None:
    """Set up a process: one thread, Ctrl-C left to the parent, and an end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int, sleep: Callable[[float], None] = time.sleep) -> None:
    while os.getppid() == parent:
        sleep(0.5)
    os._exit(1)
