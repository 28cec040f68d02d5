"""Plans every config of a folder, each in a process of its own: a compiler keeps its memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.cli import plan_table
from sora_jax.errors import RunError, UsageError

# In the order of the table; other files of the folder follow.
_FIRST = ("14b_720p", "14b_480p", "1_3b_480p", "30b_720p", "packed_65k")


def run(folder: Path, workdir: Path, page: Path) -> dict[str, Any]:
    """Write `workdir`/report.json, a list of plans, and the table of `page`, if there is one.

    Raises RunError if a plan fails otherwise than by not fitting.
    """
    configs = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    if not configs:
        raise UsageError(f"{folder} holds no config; name a folder of experiment files")
    order = {name: number for number, name in enumerate(_FIRST)}
    configs.sort(key=lambda path: order.get(path.stem, len(order)))
    plans = []
    for number, path in enumerate(configs, 1):
        print(f"plan {number} of {len(configs)}: {path}", file=sys.stderr, flush=True)
        plans.append(_plan(path))
    with files.disk_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_text(workdir / "report.json", json.dumps(plans, indent=2) + "\n")
    result = {"report": str(workdir / "report.json"), "plans": len(plans)}
    if page.is_file():
        plan_table.write_table(page, plans)
        result["page"] = str(page)
    return result | {"fits": [plan["config"] for plan in plans if plan["fits"]]}


def _plan(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "sora_jax.cli.main", "plan", "--json", "--config", str(path)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        plan = json.loads(child.stdout)
    except json.JSONDecodeError as error:
        raise RunError(f"planning {path} ended with code {child.returncode}") from error
    if child.returncode not in (0, 4):
        raise RunError(f"planning {path} failed: {plan['error']}")
    return plan
