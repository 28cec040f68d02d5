"""A batch script for Slurm: one JAX process a node, requeued after preemption."""

import dataclasses
import shlex
from collections.abc import Sequence

from launch.flags import ACCELERATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What is asked of the scheduler."""

    name: str
    nodes: int
    accelerator: str  # a name in `flags.ACCELERATORS`
    hours: float
    partition: str = ""
    grace: int = 300  # seconds between SIGTERM and the end
    port: int = 8476


def script(job: SlurmJob, command: Sequence[str]) -> str:
    """The text for `sbatch`. `command` is what follows `sora-jax`."""
    kind = ACCELERATORS[job.accelerator]
    minutes = max(1, round(job.hours * 60))
    options = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--time={minutes}",
        f"--signal=TERM@{job.grace}",  # before the time is over, as before a preemption
        "--requeue",
        "--open-mode=append",
        f"--output={job.name}-%j.log",
    ]
    if job.partition:
        options.append(f"--partition={job.partition}")
    if job.accelerator == "gpu":
        options.append(f"--gpus-per-node={kind.chips_per_host}")
    exports = [f"export {name}={shlex.quote(value)}" for name, value in kind.environment.items()]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            "set -uo pipefail",
            *exports,
            "export SORA_JAX_PROCESSES=$SLURM_NTASKS",
            'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            f"export SORA_JAX_COORDINATOR=$first:{job.port}",
            "# Each task learns its number; when one fails, all are ended.",
            "srun --kill-on-bad-exit=1 bash -c \\",
            "  'export SORA_JAX_PROCESS=$SLURM_PROCID; exec \"$@\"' task \\",
            f"  sora-jax {shlex.join(command)}",
            "code=$?",
            "# 42: stopped by SIGTERM, and saved. 75: ended by its watchdog. Both go on.",
            'if [ "$code" -eq 42 ] || [ "$code" -eq 75 ]; then',
            '  scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            'exit "$code"',
            "",
        ]
    )
