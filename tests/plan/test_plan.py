"""Small models compiled for TPUs that are not here. If these fail, `sora-jax plan` is wrong.

The compiler is libtpu; without it they are skipped, and continuous integration installs it.
"""

import importlib.util
import json
import os
from pathlib import Path

import jax
import pytest

from experiments import base
from sora_jax import config
from sora_jax.cli import main as cli
from sora_jax.cli import planner, runtime
from sora_jax.cli.experiment import ExperimentConfig
from sora_jax.errors import UsageError
from sora_jax.plan import chips, kernels, report

needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="the TPU compiler is not installed: pip install 'sora_jax[tpu]'",
)
GOLDEN = Path(__file__).with_name("golden.json")
FIELDS = {
    "fits": bool,
    "hbm_bytes_per_chip": dict,
    "model_flops_per_step": int,
    "hlo_matmul_flops_per_chip": int,
    "est_step_seconds": dict,
    "est_mfu": float,
    "tokens_per_second_per_chip": float,
    "collectives": dict,
    "compile_seconds": float,
    "largest_buffers": list,
    "caveats": list,
}


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    """The settings that `sora-jax plan` makes; a program for a TPU is never read from the cache."""
    for name, value in runtime.TPU_COMPILER.items():
        monkeypatch.setitem(os.environ, name, value)
    for name, value in (("XLA_FLAGS", ""), ("JAX_ENABLE_COMPILATION_CACHE", "true")):
        monkeypatch.setitem(os.environ, name, os.environ.get(name, value))  # put back
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def small(**mesh: int) -> ExperimentConfig:
    """The smoke config with clips of 128 tokens on a mesh, with Adam."""
    values = base.get_config("smoke")
    values.mesh.update(**mesh)
    values.dit.optimizer.name = "adamw"
    values.dit.model.update(unroll=1, remat="block")
    return config.resolve(ExperimentConfig, values)


def schedule(chip, kernel) -> kernels.Schedule:
    return kernels.Schedule(plain=4000, masked=5000, around=100, ends=200)


def compiled(cfg: ExperimentConfig, topology: str) -> report.Compiled:
    where = chips.parse(topology)
    program = planner.make_program(cfg, where, "train")
    return report.compile_for(program, where, schedule, where.chip.hbm)


@needs_compiler
def test_a_plan_that_fits_says_all_it_promises_and_adds_up():
    """On v5e, rows and tokens over chips; exchanges are those of the golden file."""
    found = compiled(small(fsdp=2, context=2), "v5e:2x2").report
    assert {name: type(found[name]) for name in FIELDS} == FIELDS and found["fits"]
    memory, seconds = found["hbm_bytes_per_chip"], found["est_step_seconds"]
    assert memory["params"] + memory["optimizer"] + memory["activations"] == memory["total"]
    assert 0 < memory["total"] < memory["limit"]
    parts = ("compute", "attention_kernels", "collectives_upper")
    assert seconds["total"] == pytest.approx(sum(seconds[name] for name in parts), abs=2e-4)
    assert seconds["collectives_lower"] <= seconds["collectives_upper"]
    # Every forward product is done again on the way back.
    assert found["model_flops_per_step"] < 4 * found["hlo_matmul_flops_per_chip"]
    assert found["largest_buffers"][0]["bytes"] > 0
    counts = {kind: entry["count"] for kind, entry in found["collectives"].items()}
    assert counts == json.loads(GOLDEN.read_text())["v5e:2x2 fsdp 2 context 2"]


@needs_compiler
@pytest.mark.parametrize(
    ("topology", "mesh"),
    [("v5p:2x2x1", {"fsdp": 4, "context": 1}), ("v6e:2x2", {"fsdp": 2, "context": 1, "tensor": 2})],
)
def test_exchanges_are_those_of_the_golden_file(topology, mesh):
    found = compiled(small(**mesh), topology).report
    counts = {kind: entry["count"] for kind, entry in found["collectives"].items()}
    name = " ".join([topology, *(f"{axis} {size}" for axis, size in mesh.items())])
    assert found["fits"] and counts == json.loads(GOLDEN.read_text())[name]


@needs_compiler
def test_state_a_chip_falls_with_the_chips():
    """Float32 weights, their average and two moments, spread over all axes of v6e:2x2."""
    cfg = small(fsdp=4, context=1)
    one = planner.make_program(small(fsdp=1, context=1), chips.parse("cpu:1"), "train")
    four = planner.make_program(cfg, chips.parse("v6e:2x2"), "train")
    assert one.optimizer == pytest.approx(3 * one.params, rel=0.01)
    assert four.params < 0.35 * one.params


@pytest.mark.slow
@needs_compiler
def test_too_large_is_a_limit_with_the_excess_and_remedies(capsys):
    """What a chip of v6e has not got is told in one line, with what was tried, and code 4."""
    code = cli.main(
        [
            *("plan", "--json", "--config", "plan/1_3b_480p.py", "--topology", "v6e:2x2"),
            *("--config.dit.model.depth=1", "--config.dit.model.remat=block"),
            *("--config.dit.attention.backend=xla", "--config.dit.loop.batch_size=512"),
            *(
                "--config.dit.optimizer.state_dtype=bfloat16",
                "--config.plan.clips=((1,84,480,832),)",
            ),
            *("--config.mesh.fsdp=1", "--config.mesh.context=4"),
        ]
    )
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (code, found["exit_code"], found["fits"]) == (4, 4, False)
    memory = found["hbm_bytes_per_chip"]
    assert memory["total"] > memory["limit"] == chips.CHIPS["v6e"].hbm
    assert "GiB too much" in found["error"] and "use more chips" in found["error"]


@pytest.mark.slow
@needs_compiler
def test_splash_kernels_are_found_in_a_program_for_v5p():
    """Each pass over each group of keys is one of our kernels, and has its share of the time."""
    values = base.get_config("smoke")
    values.mesh.update(fsdp=4)
    values.dit.model.update(width=128, num_heads=1, unroll=1, remat="attention")
    values.dit.attention.backend = "splash"
    values.dit.optimizer.name = "adamw"
    found = compiled(config.resolve(ExperimentConfig, values), "v5p:2x2x1")
    kinds = sorted(item.kernel.kind for item in found.timed)
    assert kinds == ["splash_backward"] * 2 + ["splash_forward"] * 2
    assert all(item.call.times == 2 for item in found.timed)  # layers
    assert found.report["est_step_seconds"]["attention_kernels"] > 0


@needs_compiler
def test_a_topology_that_the_compiler_has_not_is_refused():
    with pytest.raises(UsageError, match=r"v5e:3x3: .*; use one such as v5e:4x4"):
        planner.make_program(small(), chips.parse("v5e:3x3"), "train")


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'sora_jax\[tpu\]'"):
        planner.make_program(small(), chips.parse("v5e:2x2"), "train")


def test_for_a_gpu_its_own_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"GPU compiler; .* 'sora_jax\[cuda\]'"):
        planner.make_program(small(), chips.parse("h100:8"), "train")


@pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None,
    reason="the GPU compiler is not installed: pip install 'sora_jax[cuda]'",
)
def test_a_described_gpu_is_compiled_for():
    """Attention is cuDNN's, and what is larger than a card's memory does not fit."""
    values = base.get_config("smoke")
    values.mesh.update(fsdp=4, context=2)
    values.dit.model.update(unroll=1, dtype="bfloat16")
    values.dit.attention.backend = "cudnn"
    where = chips.parse("h100:8")
    program = planner.make_program(config.resolve(ExperimentConfig, values), where, "train")
    found = report.compile_for(program, where, schedule, where.chip.hbm)
    assert "__cudnn$fmhaScaleBiasSoftmaxBackward" in found.text
    assert found.report["fits"] and found.report["est_step_seconds"] is None
    assert found.report["model_flops_per_step"] < 8 * found.report["hlo_matmul_flops_per_chip"]
    assert {"all-gather", "reduce-scatter"} <= found.report["collectives"].keys()
    total = found.report["hbm_bytes_per_chip"]["total"]
    assert not report.compile_for(program, where, schedule, total - 1).report["fits"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topology", "h100:12"], "12 GPUs are not whole hosts of 8; use 8 or 16"),
        (["--topology", "v9:4x4"], "the kinds are v5e:4x4, v5p:4x4x4"),
        (["--price", "4.2"], "--price 4.2 needs --tokens"),
        (["--tokens", "-1"], "must be positive"),
        (["--topology", "cpu:8", "--config.mesh.fsdp=3"], "needs 3 devices"),
    ],
)
def test_bad_wishes_are_one_line_with_the_remedy(words, said, capsys):
    code = cli.main(["plan", "--config", "quickstart", *words])
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and said in err


def test_a_plan_needs_a_config(capsys):
    assert cli.main(["plan"]) == 2 and "--config FILE" in capsys.readouterr().err
