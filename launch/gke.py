"""A JobSet for TPU slices on Google Kubernetes Engine; several slices are one run."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from launch.flags import ACCELERATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class GKEJob:
    """Slices of one topology, and the image that they run."""

    name: str
    accelerator: str  # v5e, v5p or v6e
    topology: str  # of a slice, such as 4x4 or 2x2x4
    slices: int
    image: str
    max_restarts: int = 10
    grace: int = 300  # seconds between SIGTERM and the end


def num_hosts(accelerator: str, topology: str) -> int:
    """Hosts of one slice. Raises ValueError for a topology that has no whole hosts."""
    per_host = ACCELERATORS[accelerator].chips_per_host
    sides = topology.split("x")
    if not all(side.isdigit() and int(side) > 0 for side in sides):
        raise ValueError(f"topology {topology!r} is not of the form 4x4 or 2x2x4")
    chips = math.prod(int(side) for side in sides)
    if chips % per_host and chips > per_host:
        raise ValueError(
            f"topology {topology} has {chips} chips, which are no whole hosts of {per_host}"
        )
    return max(1, chips // per_host)


def job_set(job: GKEJob, command: Sequence[str]) -> dict[str, Any]:
    """The manifest as plain values, for YAML. `command` is what follows `sora-jax`.

    JAX finds the other processes by itself there. A mistake (2) or a limit (4) ends it; any other
    failure, and a preemption (42), starts all slices again, at most `max_restarts` times.
    """
    kind = ACCELERATORS[job.accelerator]
    hosts = num_hosts(job.accelerator, job.topology)
    chips = math.prod(int(side) for side in job.topology.split("x")) // hosts
    environment = kind.environment | {"SORA_JAX_COORDINATOR": "auto"}
    container = {
        "name": "train",
        "image": job.image,
        "command": ["sora-jax", *command],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
        "resources": {"limits": {"google.com/tpu": chips}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": job.grace,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": kind.gke_name,
            "cloud.google.com/gke-tpu-topology": job.topology,
        },
        "containers": [container],
    }
    final = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "train", "operator": "In", "values": [2, 4]},
    }
    work = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [final]},
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": job.name,
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": job.max_restarts,
                "rules": [
                    {
                        "name": "mistake",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    },
                ],
            },
            "replicatedJobs": [
                {"name": "slice", "replicas": job.slices, "template": {"spec": work}}
            ],
        },
    }
