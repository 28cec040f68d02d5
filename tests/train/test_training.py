"""The step and the loop: sharded as single, resumed as never stopped."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.diffusion.canvas import TaskShares
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.sharding import mesh as meshes
from sora_jax.train import dit_run, flops, loop, optimizer, runner, writers
from sora_jax.train.checkpoint import Checkpoints
from sora_jax.train.objectives import dit_objective
from tests.train.helpers import TOKENIZER, one_device, tiny_clips, tiny_training


def build(cfg, mesh):
    return runner.build(dit_run.plan(cfg), mesh)


@pytest.mark.parametrize(
    "axes", [dict(fsdp=8), dict(data=2, fsdp=4), dict(fsdp=2, tensor=4), dict(data=4, tensor=2)]
)
def test_eight_devices_equal_one(axes):
    """Loss and every parameter after two sharded steps agree with the single device's to 1e-5."""
    cfg = tiny_training()
    if axes.get("tensor", 1) > cfg.model.dit.num_heads:  # a head is never divided
        more = dataclasses.replace(cfg.model.dit, num_heads=axes["tensor"])
        text = dataclasses.replace(cfg.model.text, num_heads=axes["tensor"])
        cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, dit=more, text=text))
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    results = []
    for mesh in (one_device(), meshes.make_mesh(meshes.MeshConfig(**axes))):
        built = build(cfg, mesh)
        state, losses = built.fresh(), []
        for i in range(2):
            state, metrics = built.step_fn(state, meshes.put_batch(mesh, rows[i]), 0.0)
            losses.append(float(metrics["loss"]))
        results.append((losses, jax.device_get(state.params)))
    np.testing.assert_allclose(results[1][0], results[0][0], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *[r[1] for r in results])


def test_state_is_sharded_over_the_mesh():
    """Parameters, EMA and both optimizers' moments are divided; scalars are whole."""
    built = build(tiny_training(), meshes.make_mesh(meshes.MeshConfig(fsdp=4, tensor=2)))
    state = built.fresh()
    up = state.params["dit"]["blocks"]["up"]["kernel"]
    assert up.sharding.shard_shape(up.shape) == (2, 4, 32)
    sizes = [
        leaf.sharding.shard_shape(leaf.shape) == leaf.shape
        for leaf in jax.tree.leaves((state.ema, state.opt_state))
        if leaf.size > 500
    ]
    assert sizes and sum(sizes) / len(sizes) < 0.2


def fit(cfg, workdir, interrupt_at=None):
    """Train in `workdir`; `interrupt_at` presses Ctrl-C when that step is evaluated."""

    def evaluate(state):
        if int(state.step) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    plan = dataclasses.replace(dit_run.plan(cfg), loop=dataclasses.replace(cfg.loop, eval_every=1))
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=0)
    return runner.run(
        plan,
        rows,
        workdir=workdir,
        mesh=one_device(),
        writers=lambda progress: [writers.JsonLines(workdir / "metrics.jsonl")],
        hooks=loop.Hooks(evaluate=evaluate),
    )


def test_resume_equals_never_stopping(tmp_path):
    """Ctrl-C at step 3 and the same command again: params, EMA and moments are equal to the bit."""
    cfg = tiny_training()
    whole = fit(cfg, tmp_path / "whole").state
    with pytest.raises(loop.Stopped, match="step 3, 50%"):
        fit(cfg, tmp_path / "stopped", interrupt_at=3)
    resumed = fit(cfg, tmp_path / "stopped").state
    assert int(resumed.step) == 6
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(resumed))
    first, second = ((tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "stopped"))
    assert _losses(first) == _losses(second)


def test_a_finished_run_is_only_read(tmp_path):
    cfg = tiny_training(steps=2)
    done = fit(cfg, tmp_path).state
    again = fit(cfg, tmp_path)
    assert again.compiles == 0
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(done), jax.device_get(again.state))


def test_a_checkpoint_goes_onto_another_mesh(tmp_path):
    """Saved on one device, restored on eight: the same numbers, other places."""
    cfg = tiny_training(steps=2)
    state = fit(cfg, tmp_path).state
    built = build(cfg, meshes.make_mesh(meshes.MeshConfig(fsdp=8)))
    found, position = Checkpoints(tmp_path / "checkpoints").restore(built.abstract, built.shardings)
    assert (position.next_batch, position.progress) == (2, 1)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(found))
    kernel = found.params["dit"]["blocks"]["up"]["kernel"]
    assert len({shard.device for shard in kernel.addressable_shards}) == 8


def test_the_step_compiles_once(tmp_path):
    assert fit(tiny_training(), tmp_path).compiles == 1


def test_a_mesh_that_does_not_fit_names_the_remedy():
    with pytest.raises(ValueError, match="needs 9 devices and there are 8"):
        meshes.make_mesh(meshes.MeshConfig(data=3, fsdp=3))


def test_muon_takes_the_matrices_of_blocks_and_no_other():
    cfg = tiny_training()
    _, abstract, _ = network.graph(network.Denoiser, cfg.model)
    found = optimizer.matrices(abstract)
    assert found["dit"]["blocks"]["up"]["kernel"] == "muon"
    assert found["dit"]["input"]["kernel"] == "adam"
    assert found["dit"]["blocks"]["up"]["bias"] == "adam"
    assert found["text"]["embedding"] == "adam"


def test_the_rate_rises_holds_and_falls_to_nothing():
    cfg = optimizer.OptimizerConfig(warmup=10, cooldown=0.5)
    steps = jnp.array([0, 4, 10, 50, 75, 100])
    factors = optimizer.rate_factor(cfg, steps, steps / 100)
    np.testing.assert_allclose(factors, [0.1, 0.5, 1, 1, 0.5, 0])


def test_a_run_in_minutes_ends_with_them_and_goes_on_where_it_was(tmp_path, monkeypatch):
    """Whatever a step takes: the clock of a resumed run starts at the share that was done."""
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    clock = loop.Clock(loop.LoopConfig(minutes=2.0), done=0.25)
    assert clock(7) == 0.25
    now[0] += 60
    assert clock(8) == 0.75
    now[0] += 3600
    assert clock(9) == 1.0
    assert loop.Clock(loop.LoopConfig(steps=10, minutes=2.0), done=0.2)(5) == 0.5


def test_a_run_in_minutes_is_found_complete(tmp_path):
    cfg = tiny_training(steps=0, minutes=0.02, checkpoint_every=1)
    assert fit(cfg, tmp_path).steps > 0
    assert fit(cfg, tmp_path).compiles == 0


def test_an_unknown_optimizer_is_named():
    with pytest.raises(UsageError, match="'sgd' is not known"):
        optimizer.make_optimizer(optimizer.OptimizerConfig(name="sgd"))


def test_the_power_ema_forgets_the_start():
    """Of a parameter that counts steps, it lags by a fixed share of the run."""
    ema = {"x": jnp.zeros(())}
    for step in range(200):
        ema = optimizer.power_ema(ema, {"x": jnp.float32(step + 1)}, jnp.int32(step), gamma=9.0)
    assert float(ema["x"]) == pytest.approx(200 * 10 / 11, rel=0.02)


def test_products_are_counted_through_loops_and_gradients():
    """A scan of 3 products and its gradient are 3 + 6 products."""
    w, x = jnp.ones((3, 8, 8)), jnp.ones((4, 8))

    def loss(w):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, w)[0])

    one = 2 * 4 * 8 * 8
    assert flops.matmul_flops(loss, w) == 3 * one
    assert flops.matmul_flops(jax.grad(loss), w) == 9 * one


def test_heldout_loss_is_at_fixed_levels_and_noise():
    """The same parameters give the same held-out loss; others do not."""
    cfg = tiny_training()
    rows = dit_run.make_rows(cfg, tiny_clips(), TOKENIZER, seed=1)
    loss_fn = dit_objective(cfg.model, cfg.diffusion)
    params = network.init(network.Denoiser, cfg.model, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, {k: np.asarray(v) for k, v in rows[0].items()})
    first = float(loss_fn(params, batch, jax.random.key(0))[0])
    assert first == float(loss_fn(params, batch, jax.random.key(0))[0])
    assert first != float(loss_fn(params, batch, jax.random.key(1))[0])


def test_bins_of_sigma_part_the_heldout_loss():
    """All bins together are the loss, and each has the tokens of its own noise alone."""
    text = TaskShares(**{f.name: float(f.name == "text") for f in dataclasses.fields(TaskShares)})
    cfg = tiny_training()
    diffusion = dataclasses.replace(cfg.diffusion, tasks=text)
    rows = dit_run.make_rows(
        dataclasses.replace(cfg, still_share=0.0), tiny_clips(), TOKENIZER, seed=1
    )
    params = network.init(network.Denoiser, cfg.model, jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, dict(rows[0]))

    def figures(diffusion, edges):
        loss_fn = dit_objective(cfg.model, diffusion, sigma_edges=edges)
        return loss_fn(params, batch, jax.random.key(0))

    loss, parts = figures(diffusion, dit_run.SIGMA_EDGES)
    # Clips of one length without given tokens: the mean over clips is that over tokens.
    assert float(jnp.sum(parts["bin_loss"]) / batch["tokens"][..., 0].size) == pytest.approx(
        float(loss), rel=1e-5
    )
    assert float(jnp.sum(parts["bin_tokens"])) == batch["tokens"][..., 0].size
    assert int(jnp.sum(parts["bin_tokens"] > 0)) > 2
    # Where all noise is of one level, only its bin has tokens.
    level = dataclasses.replace(diffusion.noise, mean=0.0, spread=1e-4, uniform_share=0.0)
    level = dataclasses.replace(level, one_share=1.0, independent_share=0.0, ramp_share=0.0)
    _, parts = figures(dataclasses.replace(diffusion, noise=level), dit_run.SIGMA_EDGES)
    assert np.flatnonzero(parts["bin_tokens"]).tolist() == [2]  # sigma .5 is in [.4, .6)
    assert dit_run.bin_losses([jax.device_get(parts)]).keys() == {"heldout_loss_sigma_0.4_0.6"}


def test_secrets_do_not_reach_the_log():
    config = {"a": 1, "api_key": "x", "inner": {"token": "y", "tokens": 3}}
    assert writers.redact(config) == {
        "a": 1,
        "api_key": "<redacted>",
        "inner": {"token": "<redacted>", "tokens": 3},
    }


def _losses(text: str) -> dict[int, float]:
    import json

    lines = map(json.loads, text.splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_clip_that_an_image_begins_is_told_of_its_changes_when_they_come():
    """Its latents are those of the held clip, and times after the first frame move with it."""
    cfg = dataclasses.replace(tiny_training(), still_share=1.0, global_share=0.0)
    timed = [[("red square", 0.0, 2.0), ("red", 0.0, 1.0), ("square left", 1.0, 2.0)]] * 24
    clips = dataclasses.replace(tiny_clips(), captions=timed)
    batch = dit_run.make_rows(cfg, clips, TOKENIZER, seed=0)[0]
    pictures = {np.sort(held.astype(np.float32), axis=None).tobytes() for held in clips.held}
    assert all(np.sort(row, axis=None).tobytes() in pictures for row in batch["tokens"])
    assert batch["needs_first"].all()
    words = batch["text_segment"][0] >= 0
    assert set(map(tuple, batch["text_span"][0][words])) == {(0.0, 1.375), (1.375, 2.375)}
