"""What is rendered for clusters is read by those who must read it, and says what was asked."""

import json
import shlex
import subprocess

import pytest
import yaml

from launch import gke, jobset_schema, tpu_vm
from launch.flags import ACCELERATORS
from sora_jax.cli import main

TRAIN = [
    "--",
    "train",
    "--config",
    "quickstart",
    "--workdir",
    "runs/a b",
    "--config.dit.loop.steps=9",
]


def launch(capsys, tmp_path, *options):
    out = tmp_path / "job"
    code = main.main(["launch", *options, "-o", str(out), "--dry-run", "--json", *TRAIN])
    said = capsys.readouterr()
    return code, out, json.loads(said.out.splitlines()[-1])


@pytest.mark.parametrize("accelerator", ["gpu", "cpu", "v5p"])
def test_a_slurm_script_starts_a_process_a_node(capsys, tmp_path, accelerator):
    code, out, said = launch(
        capsys, tmp_path, "slurm", "--nodes", "3", "--hours", "1.5", "--accelerator", accelerator
    )
    assert code == 0 and said["submit"] == f"sbatch {out}"
    text = out.read_text()
    options = [line.split(" ", 1)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=3", "--ntasks-per-node=1", "--time=90", "--requeue"} <= set(options)
    assert any(option.startswith("--gpus-per-node") for option in options) == (accelerator == "gpu")


def test_the_slurm_script_runs(capsys, tmp_path):
    """With stand-ins for Slurm: each task gets its place and the whole command; 42 is requeued."""
    _, out, _ = launch(capsys, tmp_path, "slurm", "--nodes", "2", "--accelerator", "cpu")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    stand_ins = {
        "scontrol": 'if [ $1 = show ]; then echo node7; echo node8; else echo "$@" >> said; fi',
        "srun": 'shift; for i in 0 1; do SLURM_PROCID=$i "$@" || code=$?; done; exit ${code:-0}',
        "sora-jax": (
            'echo "$SORA_JAX_COORDINATOR $SORA_JAX_PROCESS $SORA_JAX_PROCESSES" >> said; '
            'printf "%s\\n" "$@" > words; exit 42'
        ),
    }
    for name, body in stand_ins.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    environment = {
        "PATH": f"{bin_}:/usr/bin:/bin",
        "SLURM_NTASKS": "2",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_ID": "55",
    }
    done = subprocess.run(["bash", str(out)], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 42
    said = (tmp_path / "said").read_text().splitlines()
    assert said == ["node7:8476 0 2", "node7:8476 1 2", "requeue 55"]
    assert (tmp_path / "words").read_text().splitlines() == TRAIN[1:]


def test_a_job_set_has_a_pod_a_host(capsys, tmp_path):
    code, out, _ = launch(
        capsys, tmp_path, "gke", "--accelerator", "v5e", "--topology", "4x4", "--slices", "2",
        "--image", "registry/sora:1",
    )  # fmt: skip
    assert code == 0
    found = yaml.safe_load(out.read_text())
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (slices,) = found["spec"]["replicatedJobs"]
    assert slices["replicas"] == 2
    work = slices["template"]["spec"]
    assert (work["parallelism"], work["completions"], work["backoffLimit"]) == (4, 4, 0)
    pod = work["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # a podFailurePolicy asks for it
    (container,) = pod["containers"]
    assert container["command"] == ["sora-jax", *TRAIN[1:]]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert all(isinstance(item["value"], str) for item in container["env"])


def a_job_set(capsys, tmp_path):
    _, out, _ = launch(capsys, tmp_path, "gke", "--image", "registry/sora:1")
    return yaml.safe_load(out.read_text())


def test_the_job_set_is_what_its_schema_allows(capsys, tmp_path):
    assert list(jobset_schema.offences(a_job_set(capsys, tmp_path))) == []


def _rule(manifest):
    return manifest["spec"]["failurePolicy"]["rules"][0]


def _work(manifest):
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda m: _rule(m).pop("name"), "rules[0] has no name"),
        (lambda m: m["spec"].update(replicas=2), "spec.replicas is no field"),
        (lambda m: m.update(kind="Job"), "'Job' and not one of JobSet"),
        (lambda m: _work(m).update(parallelism="4"), "parallelism is '4', which is no int"),
        (lambda m: _work(m).update(completionMode="indexed"), "not one of Indexed"),
    ],
)
def test_the_schema_sees_what_is_wrong(capsys, tmp_path, spoil, words):
    manifest = a_job_set(capsys, tmp_path)
    spoil(manifest)
    assert any(words in offence for offence in jobset_schema.offences(manifest))


def test_sbatch_is_asked_where_there_is_one(capsys, tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/bash\necho 'no such partition' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, _, said = launch(capsys, tmp_path, "slurm", "--accelerator", "cpu")
    assert code == 5
    assert "no such partition" in said["error"]


def test_a_tpu_vm_script_reaches_every_slice(capsys, tmp_path):
    code, out, _ = launch(
        capsys, tmp_path, "tpu-vm", "--accelerator", "v5p", "--topology", "2x2x2", "--slices", "2",
        "--zone", "z-1", "--repository", "https://example.org/s.git", "--name", "big",
    )  # fmt: skip
    assert code == 0
    text = out.read_text()
    assert "--accelerator-type=v5p-16" in text
    assert "ssh big-0" in text and "ssh big-1" in text
    assert shlex.join(TRAIN[1:]) in text


@pytest.mark.parametrize(
    ("accelerator", "topology", "name"),
    [("v5e", "4x4", "v5litepod-16"), ("v5p", "2x2x1", "v5p-8"), ("v6e", "2x2", "v6e-4")],
)
def test_types_of_tpu_vms(accelerator, topology, name):
    assert tpu_vm.vm_type(accelerator, topology) == name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["slurm", "--accelerator", "abacus"], ["abacus", "v5p"]),
        (["slurm", "--nodes", "0"], ["--nodes 0", "at least 1"]),
        (["gke", "--accelerator", "v5e"], ["--image"]),
        (["gke", "--image", "i", "--topology", "4by4"], ["4by4", "4x4"]),
        (["gke", "--image", "i", "--topology", "3x3"], ["9 chips", "whole hosts of 4"]),
        (["tpu-vm"], ["--zone", "--repository"]),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, options, words):
    code, out, said = launch(capsys, tmp_path, *options)
    assert code == 2
    assert not out.exists()
    for word in words:
        assert word in said["error"]


def test_what_is_launched_is_checked_first(capsys):
    assert main.main(["launch", "local", "--", "generate", "toyworld"]) == 2
    assert "after -- comes one of train" in capsys.readouterr().err
    assert main.main(["launch", "local", "--", "train", "--confg", "quickstart"]) == 2
    assert main.main(["launch", "local"]) == 2
    assert main.main(["doctor", "--", "train"]) == 2


def test_every_host_is_counted():
    assert gke.num_hosts("v5p", "2x2x1") == 1
    assert gke.num_hosts("v5p", "4x4x4") == 16
    assert all(kind.environment["JAX_PLATFORMS"] for kind in ACCELERATORS.values())
