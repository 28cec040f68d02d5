"""A script that makes a TPU VM (or several slices), installs the project and starts a run there."""

import dataclasses
import math
import shlex
from collections.abc import Sequence

from launch.flags import ACCELERATORS
from launch.gke import num_hosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class TPUVMJob:
    """What is asked for by queued resources."""

    name: str
    accelerator: str  # v5e, v5p or v6e
    topology: str
    slices: int
    zone: str
    repository: str  # git address that the hosts clone
    runtime: str  # software version of the VM image


def vm_type(accelerator: str, topology: str) -> str:
    """The name of a slice among TPU VM types: v5p counts cores, the others chips."""
    num_hosts(accelerator, topology)  # checks it
    kind = ACCELERATORS[accelerator]
    chips = math.prod(int(side) for side in topology.split("x"))
    return f"{kind.vm_name}-{chips * kind.cores_in_name}"


def script(job: TPUVMJob, command: Sequence[str]) -> str:
    """Bash for a person's machine with gcloud. `command` is what follows `sora-jax`."""
    exports = ACCELERATORS[job.accelerator].environment | {"SORA_JAX_COORDINATOR": "auto"}
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in exports.items())
    inside = [
        "set -e",
        f"test -d sora_jax || git clone {shlex.quote(job.repository)} sora_jax",
        "cd sora_jax",
        "launch/setup.sh requirements-tpu.lock",
        "# 42: stopped by SIGTERM, and saved; 75: ended by its watchdog. Both go on.",
        "code=42",
        "while [ $code -eq 42 ] || [ $code -eq 75 ]; do",
        f"  code=0; env {words} .venv/bin/sora-jax {shlex.join(command)} || code=$?",
        "done",
        "exit $code",
    ]
    create = [
        f"gcloud compute tpus queued-resources create {shlex.quote(job.name)}",
        f"--zone={shlex.quote(job.zone)}",
        f"--accelerator-type={vm_type(job.accelerator, job.topology)}",
        f"--runtime-version={shlex.quote(job.runtime)}",
        f"--node-prefix={shlex.quote(job.name)}"
        if job.slices > 1
        else f"--node-id={shlex.quote(job.name)}",
    ]
    if job.slices > 1:
        create.append(f"--node-count={job.slices}")
    names = [job.name if job.slices == 1 else f"{job.name}-{i}" for i in range(job.slices)]
    lines = [
        "#!/bin/bash",
        "set -euo pipefail",
        "inside=$(cat <<'INSIDE'",
        *inside,
        "INSIDE",
        ")",
        " \\\n  ".join(create),
        "# Every host of every slice runs the same; JAX finds the others by itself.",
    ]
    for name in names:
        lines.append(
            f"gcloud compute tpus tpu-vm ssh {shlex.quote(name)} --zone={shlex.quote(job.zone)} "
            '--worker=all --command="$inside" &'
        )
    lines += ["failed=0", "for job in $(jobs -p); do wait $job || failed=$?; done", "exit $failed"]
    return "\n".join([*lines, ""])
