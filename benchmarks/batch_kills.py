"""`make tools`, the line `batch`: a hundred jobs, killed three times, made once each.

    python -m benchmarks.batch_kills runs/tools/report.json

Jobs are short videos of the embedded model, of two lengths and four tools. The command is killed
(SIGKILL) each time that another quarter of them is done, and started again. Afterwards every job
has its video, and none was made twice: a record that was there at a kill is not written again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sora_jax import files, media

JOBS, KILLS = 100, 3
PROMPT = "a red circle moves left on a white background"
LIMIT = 1200.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="of the tools; the line is added to it")
    args = parser.parse_args()
    work = args.report.parent / "batch"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    line = judge(work)
    report = json.loads(args.report.read_text()) if args.report.exists() else {}
    files.write_text(args.report, json.dumps(report | {"batch": line}, indent=2) + "\n")
    print(f"batch {'holds' if line['ok'] else 'does not hold'}: {args.report}")
    return 0 if line["ok"] else 5


def judge(work: Path) -> dict:
    """Run, kill and look."""
    jobs, out = work / "jobs.jsonl", work / "out"
    jobs.write_text("".join(json.dumps(job) + "\n" for job in make_jobs(work)))
    began = time.monotonic()
    when_written: dict[str, int] = {}
    twice, kills = 0, 0
    for stop_at in [JOBS * (k + 1) // (KILLS + 1) for k in range(KILLS)] + [JOBS]:
        process = start(jobs, out, work / "log")
        while process.poll() is None and len(records(out)) < stop_at:
            if time.monotonic() - began > LIMIT:
                break
            time.sleep(0.02)
        if stop_at < JOBS:
            if process.poll() is None:
                kills += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        found = records(out)
        twice += sum(found.get(name) != stamp for name, stamp in when_written.items())
        when_written = found
    lengths = [len(media.read_video(path)[0]) for path in sorted(out.glob("*.mp4"))]
    line = {
        "jobs": JOBS,
        "kills": kills,
        "outputs": len(lengths),
        "twice": twice,
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    whole = len(lengths) == JOBS and min(lengths, default=0) >= 8
    return {"ok": bool(whole and kills == KILLS and not twice)} | line


def make_jobs(work: Path) -> list[dict[str, Any]]:
    """Texts of two lengths, and the first of the videos that they make, extended and remixed."""
    first = work / "first.mp4"
    subprocess.run([*sora("generate", "toyworld"), "-p", PROMPT, "-o", str(first)], check=True)
    kinds: list[dict[str, Any]] = [
        {"tool": "generate", "prompt": PROMPT},
        {"tool": "generate", "prompt": PROMPT, "seconds": 1.0},
        {"tool": "remix", "source": str(first), "prompt": PROMPT, "strength": "mild"},
        {
            "tool": "extend",
            "source": str(first),
            "prompt": PROMPT,
            "direction": "forward",
            "seconds": 0.5,
        },
    ]
    return [
        kinds[i % len(kinds)] | {"name": f"job{i:03d}", "seed": i, "draft": True}
        for i in range(JOBS)
    ]


def start(jobs: Path, out: Path, log: Path) -> subprocess.Popen:
    with log.open("ab") as file:
        command = [*sora("batch", str(jobs)), "--model", "toyworld", "-o", str(out)]
        return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)


def sora(*words: str) -> list[str]:
    return [sys.executable, "-m", "sora_jax.cli.main", *words]


def records(out: Path) -> dict[str, int]:
    """When each record was written, by name."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}


if __name__ == "__main__":
    sys.exit(main())
