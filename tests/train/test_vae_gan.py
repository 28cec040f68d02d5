"""Training the autoencoder against a discriminator: in the one loop, with exact resume."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.data import loader
from sora_jax.data.records import Columns
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.vae.discriminator import DiscriminatorConfig
from sora_jax.models.vae.vae import VAE, VAEConfig
from sora_jax.sharding import mesh as meshes
from sora_jax.train import loop, runner, vae_run
from sora_jax.train.optimizer import OptimizerConfig, make_optimizer
from sora_jax.train.vae_objective import AdversarialConfig, PerceptualConfig, VAELossConfig
from tests.train.helpers import one_device

VAE_CONFIG = VAEConfig(
    channels=4, patch=4, widths=(8,), blocks=1, deep_encoder=False, dtype="float32"
)
CRITIC = DiscriminatorConfig(patch=2, widths=(8,), dtype="float32")
ADVERSARIAL = AdversarialConfig(weight=0.5, start=2, r1=0.1, discriminator=CRITIC)


def make_training(loss=None, **settings) -> vae_run.VAETraining:
    defaults = dict(steps=4, batch_size=8, log_every=1, checkpoint_every=2, eval_every=100)
    return vae_run.VAETraining(
        vae=VAE_CONFIG,
        loss=loss or VAELossConfig(rough_share=0.5, adversarial=ADVERSARIAL),
        optimizer=OptimizerConfig(warmup=2, discriminator_rate=1e-3),
        loop=loop.LoopConfig(**(defaults | settings)),
    )


def clips(count: int = 16) -> np.ndarray:
    """Noise under a moving edge: there is detail to lose."""
    rng = np.random.default_rng(0)
    video = rng.normal(128, 40, (count, 8, 16, 16, 3))
    for t in range(8):
        video[:, t, :, t : t + 8] += 60
    return video.clip(0, 255).astype(np.uint8)


def make_plan(cfg: vae_run.VAETraining) -> runner.Plan:
    return vae_run.plan(cfg, lambda key: network.init(VAE, cfg.vae, key))


def make_batches(cfg: vae_run.VAETraining):
    columns = Columns({"video": clips()})
    return loader.batches(columns, batch_size=cfg.loop.batch_size, seed=0)


def train(cfg: vae_run.VAETraining, workdir) -> loop.Result:
    return runner.run(
        make_plan(cfg),
        make_batches(cfg),
        workdir=workdir,
        mesh=one_device(),
        writers=lambda progress: [],
        hooks=loop.Hooks(),
    )


def test_resume_with_a_discriminator_equals_never_stopping(tmp_path):
    """Both sides, their moments and the EMA; the discriminator is heard from the last steps on."""
    cfg = make_training()
    whole = train(cfg, tmp_path / "a").state
    train(cfg, tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "4")  # as if it had been killed after step 3
    again = train(cfg, tmp_path / "b").state
    assert int(again.step) == 4
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again), jax.device_get(whole))


def test_the_trained_autoencoder_has_no_discriminator(tmp_path):
    trained = vae_run.train_vae(
        make_training(steps=2, eval_every=1),
        clips(),
        clips(4),
        workdir=tmp_path,
        mesh=one_device(),
        writers=lambda progress: [],
    )
    assert set(trained.params) == {"encoder", "decoder"}
    assert trained.steps == 2 and np.isfinite(trained.psnr)


def test_the_autoencoder_starts_the_same_with_and_without_a_discriminator():
    key = jax.random.key(3)
    both = make_plan(make_training()).init(key)
    alone = make_plan(make_training(VAELossConfig())).init(key)
    both.pop("discriminator")
    jax.tree.map(np.testing.assert_array_equal, both, alone)


def test_missing_perceptual_weights_are_said_before_training(tmp_path):
    wanted = PerceptualConfig(weight=1.0, network="lpips_vgg", weights=str(tmp_path / "a.npz"))
    with pytest.raises(UsageError, match="no weights at"):
        make_plan(make_training(VAELossConfig(perceptual=wanted)))


def test_each_side_has_its_own_rate_and_clip():
    """The critic moves by its own rate, and its large gradient does not shrink the other's."""
    cfg = OptimizerConfig(name="adamw", rate=1e-2, discriminator_rate=1e-3, clip=1.0)
    params = {"encoder": jnp.zeros(2), "discriminator": jnp.zeros(2)}
    tx = make_optimizer(cfg)
    state = tx.init(params)
    moved = []
    for scale in (1.0, 1e3):  # Adam forgets one scale, so clips show in the change between steps
        grads = {"encoder": jnp.full(2, 1e-6), "discriminator": jnp.full(2, scale)}
        updates, _ = tx.update(grads, state, params)
        moved.append(updates)
    np.testing.assert_allclose(moved[0]["discriminator"], -1e-3, rtol=1e-3)
    np.testing.assert_array_equal(moved[0]["encoder"], moved[1]["encoder"])


@pytest.mark.parametrize("axes", [dict(data=2, fsdp=2, tensor=2)])
def test_eight_devices_equal_one(axes):
    """Loss and every parameter of both sides after three sharded steps.

    A step moves a parameter by up to 1.5e-3; Adam makes as much of what is mere rounding, of
    which a small share is let pass.
    """
    cfg = make_training()
    batches = [make_batches(cfg)[i] for i in range(3)]
    results = []
    for mesh in (one_device(), meshes.make_mesh(meshes.MeshConfig(**axes))):
        built = runner.build(make_plan(cfg), mesh)
        state, losses = built.fresh(), []
        for batch in batches:
            state, metrics = built.step_fn(state, meshes.put_batch(mesh, batch), 0.0)
            losses.append(float(metrics["loss"]))
        results.append((losses, jax.device_get(state.params)))
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *[r[1] for r in results])


def test_two_hundred_steps_against_a_discriminator_do_not_diverge(tmp_path):
    """Finite all the way, and the picture ends better than it began."""
    figures = []

    class Keep:
        def scalars(self, step, values):
            figures.append((step, values))

        def videos(self, step, paths): ...

        def close(self): ...

    cfg = make_training(steps=200, log_every=10, checkpoint_every=1000)
    runner.run(
        make_plan(cfg),
        make_batches(cfg),
        workdir=tmp_path,
        mesh=one_device(),
        writers=lambda progress: [Keep()],
        hooks=loop.Hooks(),
    )
    assert figures[-1][0] == 200
    assert figures[-1][1]["skipped"] == 0
    assert all(np.isfinite(value) for _, values in figures for value in values.values())
    # The hinge loss is 2 for a critic that says nothing; over 4 it would be wrong and sure of it.
    assert all(values["discriminator_loss"] < 4 for _, values in figures)
    assert figures[-1][1]["psnr"] > figures[0][1]["psnr"]
