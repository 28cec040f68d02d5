"""The autoencoder on any mesh: if this fails, what is learned depends on the machine.

JAX has given wrong numbers for sharded strided convolutions (issue 16894). Here each convolution is
one product over shifted copies, and halving is a reshape.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.vae.vae import VAE, VAEConfig
from sora_jax.sharding import mesh as meshes
from sora_jax.train import runner, vae_run
from sora_jax.train.loop import LoopConfig
from sora_jax.train.optimizer import OptimizerConfig
from sora_jax.train.vae_objective import VAELossConfig
from tests.train.helpers import one_device

STEPS = 2
CASES = [
    (dict(fsdp=8), "frames"),
    (dict(fsdp=2, context=4), "height"),
    (dict(fsdp=2, context=4), "frames"),
]
SLOW = [
    (dict(fsdp=1, context=8), "height"),
    (dict(fsdp=1, context=8), "frames"),
    (dict(data=2, fsdp=2, tensor=2), "frames"),
    (dict(data=2, context=2, tensor=2, fsdp=1), "height"),
]


def training(split: str) -> vae_run.VAETraining:
    """Both sides have networks and learn; AdamW moments and Muon momentum are in the state."""
    return vae_run.VAETraining(
        vae=VAEConfig(channels=4, patch=2, widths=(8, 16), blocks=1, dtype="float32"),
        loss=VAELossConfig(rough_share=0.5),
        optimizer=OptimizerConfig(warmup=2),
        loop=LoopConfig(steps=STEPS, batch_size=8),
        split=split,
    )


@functools.cache
def batch(number: int) -> dict[str, np.ndarray]:
    """Eight clips of 32 frames of 32x16: whole chunks and whole latents for eight devices."""
    rng = np.random.default_rng(number)
    video = rng.integers(0, 256, (8, 32, 32, 16, 3), dtype=np.uint8)
    return {"video": video, "sample_id": np.arange(8, dtype=np.int32) + 8 * number}


def run(mesh: meshes.Mesh, split: str):
    """Forward pass of the first batch, losses of STEPS steps, and parameters after them."""
    cfg = training(split)
    plan = vae_run.plan(cfg, functools.partial(network.init, VAE, cfg.vae))
    built = runner.build(plan, mesh)
    state, losses, compiled = built.fresh(), [], None

    def reconstruct(params, video):
        vae = network.module(VAE, cfg.vae, params)
        return vae.decoder(vae.encoder(meshes.split_video(mesh, video / 127.5 - 1, split)))

    placed = meshes.put_batch(mesh, batch(0))
    forward = jax.jit(reconstruct).lower(state.params, placed["video"]).compile()
    video = jax.device_get(forward(state.params, placed["video"]))
    for number in range(STEPS):
        placed = meshes.put_batch(mesh, batch(number))
        if compiled is None:
            compiled = built.step_fn.lower(state, placed, 0.0).compile()
        state, metrics = compiled(state, placed, 0.0)
        losses.append(float(metrics["loss"]))
    return video, losses, jax.device_get(state.params)


@functools.cache
def reference():
    return run(one_device(), "frames")


@pytest.mark.parametrize(
    ("sizes", "split"),
    CASES + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW],
    ids=str,
)
def test_a_mesh_gives_what_one_device_gives(sizes, split):
    """Reconstruction, loss and every parameter after two steps, to 1e-5."""
    found = run(meshes.make_mesh(meshes.MeshConfig(**sizes)), split)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, reference())


@pytest.mark.parametrize(
    ("shape", "split", "message"),
    [
        ((8, 16, 32, 16, 3), "frames", "16 frames .* 8 context .* multiple of 32"),
        ((8, 32, 20, 16, 3), "height", "20 height .* multiple of 8"),
    ],
)
def test_a_clip_that_does_not_divide_names_the_next(shape, split, message):
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=1, context=8))
    with pytest.raises(UsageError, match=message):
        meshes.split_video(mesh, jnp.zeros(shape, jnp.uint8), split)


def test_a_split_clip_lies_where_it_says():
    """Each device holds its own rows of pixels, or its own chunks."""
    mesh = meshes.make_mesh(meshes.MeshConfig(fsdp=2, context=4))
    for split, part in (("frames", (4, 8, 32, 16, 3)), ("height", (4, 32, 8, 16, 3))):
        placed = jax.jit(lambda x, s=split: meshes.split_video(mesh, x, s))(batch(0)["video"])
        assert placed.sharding.shard_shape(placed.shape) == part
