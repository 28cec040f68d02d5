"""`make chaos`: the proofs that need minutes and real processes. One report at the end.

    python -m tests.chaos [--soak-minutes 30] [--only PART ...] [--again]

Each part leaves its figures, with their commit, in `parts/PART.json`; a part that is there is
passed over, so that the same command goes on after a stop. The last line says where the report is.
"""

import argparse
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.chaos import checkpoints, costs, hangs, harness, kills, soak

KILLS = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/chaos"))
    parser.add_argument("--soak-minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts alone, no report")
    parser.add_argument("--again", action="store_true", help="parts that are there already, too")
    args = parser.parse_args()
    parts = {
        "checkpoints": lambda work: checkpoints.suite(work, args.seed),
        "hangs": hangs.hangs,
        "kills": lambda work: kills.kills(work, args.kills, args.seed),
        "layouts": kills.layouts,
        "stall": costs.stall,
        "restart": costs.restart,
        "soak": lambda work: soak.soak(work, 60 * args.soak_minutes, args.seed),
    }
    for name in args.only or ():
        if name not in parts:
            parser.error(f"no part {name!r}; use some of {', '.join(parts)}")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=harness.ROOT
    ).stdout.strip()
    done = {}
    for name in args.only or parts:
        path = args.out / "parts" / f"{name}.json"
        if path.exists() and not args.again:
            done[name] = json.loads(path.read_text())
            continue
        began = time.monotonic()
        print(f"chaos: {name}", file=sys.stderr, flush=True)
        work = (args.out / "work" / name).absolute()
        if name != "restart":  # what it prepares may be used again
            harness.fresh(work)
        work.mkdir(parents=True, exist_ok=True)
        try:
            found = parts[name](work) | {"commit": commit}
        except Exception:  # the other parts have their own figures
            traceback.print_exc()
            print(f"chaos: {name} failed", file=sys.stderr, flush=True)
            continue
        found["minutes"] = round((time.monotonic() - began) / 60, 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n")
        done[name] = found
        print(f"chaos: {name} took {found['minutes']:g} min: {path}", file=sys.stderr, flush=True)
    if args.only:
        if len(done) < len(args.only):
            return 5
        print(f"figures: {args.out / 'parts'}")
        return 0
    absent = [name for name in parts if name not in done]
    if absent:
        print(f"no report: {', '.join(absent)} failed; see above, and run it again")
        return 5
    report = build_report(done)
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    missed = failures(done, report)
    for line in missed:
        print(f"chaos: not reached: {line}", file=sys.stderr)
    held = "everything holds" if not missed else f"{len(missed)} lines do not hold"
    print(f"{held}; report: {args.out / 'report.json'}")
    return 0 if not missed else 5


def build_report(done: dict) -> dict:
    """The figures of the contract."""
    return {
        "kills": done["kills"]["kills"],
        "kills_bit_exact": done["kills"]["kills_bit_exact"],
        "checkpoint_faults": done["checkpoints"]["checkpoint_faults"],
        "checkpoint_faults_survived": done["checkpoints"]["checkpoint_faults_survived"],
        "bit_flips": done["checkpoints"]["bit_flips"],
        "bit_flips_caught": done["checkpoints"]["bit_flips_caught"],
        "hang_seconds_max": done["hangs"]["hang_seconds_max"],
        "orphans": done["hangs"]["orphans"] + done["soak"]["orphans"],
        "goodput": done["soak"]["goodput"],
        "soak_faults": done["soak"]["soak_faults"],
        "soak_lost_steps_wrong": done["soak"]["soak_lost_steps_wrong"],
        "save_stall_steps": done["stall"]["save_stall_steps"],
        "restart_seconds": done["restart"]["restart_seconds"],
    }


def failures(done: dict, report: dict) -> list[str]:
    """What must hold and does not, in words."""
    must = {
        "every kill leaves the same run": report["kills_bit_exact"] == report["kills"],
        "wrong data and a wrong key are seen": all(done["kills"]["controls_detected"].values()),
        "processes and meshes see the same": done["layouts"]["holds"],
        "every damaged checkpoint is survived": report["checkpoint_faults"]
        == report["checkpoint_faults_survived"],
        "every flipped bit is caught": report["bit_flips"] == report["bit_flips_caught"],
        "every hang ends in time, with its cause": done["hangs"]["holds"],
        "no process is left behind": report["orphans"] == 0,
        "the soak ends as it was asked to": done["soak"]["code"] == 42,
        "no step of the soak is lost or wrong": report["soak_lost_steps_wrong"] == 0,
        "a save stalls at most 1.5 steps": report["save_stall_steps"] <= 1.5,
        "a restart takes at most 15 s": report["restart_seconds"] <= 15,
    }
    return [words for words, holds in must.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
