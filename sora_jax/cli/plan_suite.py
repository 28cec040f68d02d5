"""Plans every config of a folder, each in a process of its own: a compiler keeps its memory."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sora_jax import config, files
from sora_jax.cli import plan_table
from sora_jax.errors import RunError, UsageError

# In the order of the table; other files of the folder follow.
_FIRST = ("14b_720p", "14b_480p", "1_3b_480p", "30b_720p", "packed_65k")
_COMPILERS = 2  # at a time: one takes some GB of memory


def run(folder: Path, workdir: Path, page: Path) -> dict[str, Any]:
    """Write `workdir`/report.json, a list of plans, and the table of `page`, if there is one.

    Two compilers work at a time, since each uses about one core. The report is written anew after
    each plan, so that one which fails loses no other. Raises UsageError, before anything is
    compiled, for a config that cannot be read, and RunError if a plan fails otherwise than by not
    fitting.
    """
    configs = [path for path in folder.glob("*.py") if _is_config(path)]
    if not configs:
        raise UsageError(f"{folder} holds no config; name a folder of experiment files")
    order = {name: number for number, name in enumerate(_FIRST)}
    configs.sort(key=lambda path: (order.get(path.stem, len(order)), path.stem))
    for path in configs:
        config.load(str(path))
    with files.disk_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    plans: list[dict[str, Any]] = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _COMPILERS)) as pool:
        for path, plan in zip(configs, pool.map(_plan, configs), strict=True):
            sys.stderr.write(f"{path}: {_summary(plan)}\n")
            plans.append(plan)
            with files.disk_errors(workdir):
                files.write_text(workdir / "report.json", json.dumps(plans, indent=2) + "\n")
    failed = [str(path) for path, plan in zip(configs, plans, strict=True) if "fits" not in plan]
    if failed:
        raise RunError(f"{', '.join(failed)} could not be planned; see {workdir / 'report.json'}")
    result = {"report": str(workdir / "report.json"), "plans": len(plans)}
    if page.is_file():
        plan_table.write_table(page, plans)
        result["page"] = str(page)
    return result | {"fits": [plan["config"] for plan in plans if plan["fits"]]}


def _is_config(path: Path) -> bool:
    """Whether a file of the folder is a config, and not what several of them share."""
    return "def get_config(" in path.read_text()


def _summary(plan: dict[str, Any]) -> str:
    if "fits" not in plan:
        return f"failed: {plan['error']}"
    seconds = f"{plan['est_step_seconds']['total']:.3g} s a step" if plan["fits"] else "too large"
    return f"{seconds}, compiled in {plan['compile_seconds']:.0f} s"


def _plan(path: Path) -> dict[str, Any]:
    """The plan of a config, or what stood in its way as `config` and `error`."""
    sys.stderr.write(f"planning {path}\n")
    command = [sys.executable, "-m", "sora_jax.cli.main", "plan", "--json", "--config", str(path)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        plan = json.loads(child.stdout)
    except json.JSONDecodeError:
        return {"config": str(path), "error": f"its process ended with code {child.returncode}"}
    return plan if child.returncode in (0, 4) else {"config": str(path), "error": plan["error"]}
