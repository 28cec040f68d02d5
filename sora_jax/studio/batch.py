"""Many jobs from one file: in any order, once each, and on again after a stop.

A line of the file is a JSON object: `tool`, what that tool takes, and if wanted `name`, by which
its files are called (the number of the line otherwise). A job is done when its record is there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sora_jax.errors import LimitError, PolicyError, RunError, UsageError
from sora_jax.studio import boards, edits, facade, finish
from sora_jax.studio.record import TOOLS, takes_model

_MODULES = (boards, edits, facade, finish)  # whose tools these are
_SHAPE = ("model", "tool", "size", "fps", "seconds", "steps", "solver", "draft")

type Progress = Callable[[int, int], None]  # jobs done, of all


def run(
    jobs: str | Path, directory: str | Path, *, model: str | None = None, progress: Progress
) -> dict[str, Any]:
    """Do the jobs whose records are not in `directory`; `model` is for those that name none.

    Jobs of one shape come after each other, so that programs are compiled once. A job that fails
    is told of and the others go on. Raises RunError at the end if any failed.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    wanted = _read(Path(jobs), model)
    order = sorted(wanted.items(), key=lambda item: [str(item[1].get(key)) for key in _SHAPE])
    made, failed = 0, {}
    for number, (name, job) in enumerate(order, 1):
        if not (directory / f"{name}.json").exists():
            arguments = {key: value for key, value in job.items() if key != "tool"}
            try:
                TOOLS[job["tool"]](**arguments, out=str(directory / f"{name}.mp4"))
                made += 1
            except (UsageError, LimitError, PolicyError, RunError) as error:
                failed[name] = str(error)
            except TypeError as error:  # an argument that the tool does not have
                failed[name] = f"{job['tool']}: {error}"
        progress(number, len(order))
    if failed:
        name, reason = next(iter(failed.items()))
        raise RunError(
            f"{len(failed)} of {len(order)} jobs failed, the first is {name}: {reason}; mend "
            "them and run the same command again"
        )
    return {"output": str(directory), "jobs": len(order), "made": made, "had": len(order) - made}


def _read(path: Path, model: str | None) -> dict[str, dict[str, Any]]:
    """Every job by its name. Raises UsageError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read jobs from {path}: {error}") from error
    jobs: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            job = json.loads(line)
        except ValueError as error:
            raise UsageError(f"line {number} of {path} is not JSON: {error}") from error
        if not isinstance(job, dict) or job.get("tool") not in TOOLS:
            raise UsageError(
                f"line {number} of {path} has no tool that is known; use {', '.join(TOOLS)}"
            )
        name = str(job.pop("name", f"{number:04d}"))
        if name in jobs or Path(name).name != name:
            raise UsageError(f"line {number} of {path}: name {name!r} is taken or is a path")
        if takes_model(job["tool"]):
            job.setdefault("model", model)
            if job["model"] is None:
                raise UsageError(f"line {number} of {path} names no model; do so, or use --model")
        if "size" in job:
            job["size"] = tuple(job["size"])
        jobs[name] = job
    if not jobs:
        raise UsageError(f"{path} holds no job; write one JSON object a line")
    return jobs
