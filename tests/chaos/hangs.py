"""Item 5: whatever stops one worker, all are gone in time, and the cause is said."""

import time
from pathlib import Path

from tests.chaos import harness

LIMIT = 10.0  # seconds from the fault until every process is gone
WATCHDOG = 6.0  # of steps; of data two thirds, so that a hung reader speaks before its peer
CASES = {  # fault, process: exit codes that are right, words of the last lines
    ("kill", 1): ({137}, "process 1 ended first, with code 137"),
    ("kill", 0): ({137}, "process 0 ended first, with code 137"),  # the coordinator
    ("stop", 1): ({134, 75}, "process 1 had been stopped"),
    ("stop", 0): ({134, 75}, "process 0 had been stopped"),
    ("exception", 1): ({5}, "a planted exception"),
    ("exception", 0): ({5}, "a planted exception"),
    ("spin", 1): ({75}, "loop.watchdog.data"),
    ("spin", 0): ({75}, "loop.watchdog.data"),
    ("hang", 1): ({75}, "loop.watchdog.data"),
}


def hangs(work: Path) -> dict:
    """Each fault once, with two processes that have a child each; no second attempt."""
    progress = harness.Progress("hangs", len(CASES), every=0)
    found, orphans = {}, 0
    for (fault, process), (codes, words) in CASES.items():
        run = harness.fresh(work / f"{fault}-{process}")
        code, said = harness.start(
            run, 2, 2, "--steps", 40, "--fault", f"{fault}:12:{process}", "--limit", WATCHDOG,
            "--child", "--checkpoint-every", 4, max_restarts=0,
        )  # fmt: skip
        seconds = time.time() - (run / "fault-happened").stat().st_mtime
        time.sleep(0.2)
        left = harness.marked()
        orphans += len(left)
        last = "\n".join(said.splitlines()[-45:])
        found[f"{fault} {process}"] = {
            "seconds": round(seconds, 2),
            "code": code,
            "orphans": len(left),
            "holds": code in codes and words in last and seconds <= LIMIT and not left,
        }
        progress(len(found), f"({fault} {process}: {found[f'{fault} {process}']})")
    return {
        "cases": found,
        "hang_seconds_max": max(case["seconds"] for case in found.values()),
        "orphans": orphans,
        "holds": all(case["holds"] for case in found.values()),
    }
