"""Schedules of attention kernels, each from a compiler in a process of its own.

The TPU compiler reads what it shall write down when it is loaded, and writes gigabytes for a whole
model: so one kernel is compiled alone, in a child that this module starts and is.
"""

import importlib.metadata
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sora_jax.cli import runtime
from sora_jax.errors import RunError, UsageError
from sora_jax.models import splash
from sora_jax.models.splash_kernels import BACKWARD, FORWARD, Blocks
from sora_jax.plan import kernels
from sora_jax.plan.chips import CHIPS, Chip
from sora_jax.plan.cost import KernelCall
from sora_jax.plan.hlo import Shape

# Blocks that are tried: queries, keys, keys at a time.
_CANDIDATES = {
    FORWARD: [(1024, 2048, 1024), (1024, 2048, 2048), (2048, 2048, 1024), (512, 2048, 1024)],
    BACKWARD: [(1024, 1024, 512), (1024, 1024, 1024), (2048, 1024, 512), (512, 1024, 512)],
}
_WORDS = 512  # of a caption, one block of keys
_WIDTHS = (64, 128)  # of heads


def measure(chip: Chip, kernel: kernels.Kernel) -> kernels.Schedule:
    """The schedule of a kernel on one kind of chip; takes the compiler a quarter to a whole minute.

    Raises RunError for a kernel that the compiler refuses, with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"
        child = subprocess.run(
            [sys.executable, "-m", __name__, chip.name, kernel.name, str(kernel.width)],
            env=os.environ | runtime.TPU_COMPILER | {"LIBTPU_INIT_ARGS": options},
            capture_output=True,
            text=True,
            check=False,
        )
        found = [
            path
            for path in Path(folder).glob(f"*{kernel.kind}*-final_bundles.txt")
            if "schedule-analysis" not in path.name
        ]
        if child.returncode or not found:
            lines = child.stderr.strip().splitlines() or ["it wrote no schedule"]
            raise RunError(f"{kernel.name} for {chip.name} does not compile: {lines[-1][:300]}")
        return kernels.read_schedule(found[0].read_text(), kernel)


def tune(chip: str) -> dict[str, Any]:
    """Measure every candidate for a kind of chip into the table, and say which blocks are best.

    Best is the least time for each token pair of a long row: `models/splash.py` should name them.
    """
    if chip not in splash.TUNING:
        raise UsageError(f"--tune {chip!r} is not one of {', '.join(splash.TUNING)}")
    table = kernels.load_table()
    if table["libtpu"] != importlib.metadata.version("libtpu"):
        raise UsageError(
            f"the table is of libtpu {table['libtpu']}; install that, or empty the table first"
        )
    best = {}
    for kind, candidates in _CANDIDATES.items():
        times = {}
        for block, width in itertools.product(candidates, _WIDTHS):
            kernel = kernels.Kernel(kind, _blocks(block), False, width)
            print(f"{chip} {kernel.name} {width}", file=sys.stderr, flush=True)
            try:
                found = measure(CHIPS[chip], kernel)
            except RunError as error:
                print(f"  {error}", file=sys.stderr)
                continue
            kernels.store(table, CHIPS[chip], kernel, found)
            times[kernel.name, width] = kernels.per_pair(found, kernel, CHIPS[chip])
        name = min((name for name in times if name[1] == 128), key=times.__getitem__)[0]
        best[kind] = name
        query = int(name.split("_")[-3])
        spans = kernels.Kernel(kind, _blocks((query, _WORDS, _WORDS)), True, 128)
        kernels.store(table, CHIPS[chip], spans, measure(CHIPS[chip], spans))
    return {"table": str(kernels.TABLE), "best": best}


def _blocks(sizes: tuple[int, int, int]) -> Blocks:
    return Blocks(query=sizes[0], key=sizes[1], step=sizes[2])


def _main(chip: str, name: str, width: str) -> None:
    from sora_jax.plan import lone_kernel

    operands = (Shape("bf16", (2, 0, int(width))),) * 7
    kernel = kernels.identify(KernelCall(name, operands, 1))
    assert kernel is not None, name
    lone_kernel.compile_alone(CHIPS[chip], kernel)


if __name__ == "__main__":
    _main(*sys.argv[1:])
