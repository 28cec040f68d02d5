"""The autoencoder's loss: what each term is, and whom it teaches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange

from sora_jax import config
from sora_jax.errors import UsageError
from sora_jax.models import network
from sora_jax.models.vae import linear
from sora_jax.models.vae.discriminator import Discriminator, DiscriminatorConfig
from sora_jax.models.vae.vae import VAE, VAEConfig, fold
from sora_jax.train import step, vae_objective
from sora_jax.train.vae_objective import AdversarialConfig, PerceptualConfig, VAELossConfig
from tests.tiny_model import tiny_features, tiny_parts, without_networks

PARTS = tiny_parts()
CFG = VAEConfig(channels=4, patch=4, widths=(8,), blocks=1, deep_encoder=False, dtype="float32")
CRITIC = DiscriminatorConfig(patch=2, widths=(8,), dtype="float32")
ADVERSARIAL = AdversarialConfig(weight=0.5, discriminator=CRITIC, r1=0.1)
# No noise, both sides learn, and no term: each test adds its own.
BARE = VAELossConfig(squared=0, l1=0, latent_penalty=0, latent_noise=0, rough_share=0)


def make_batch(step_number: int = 0, clips: int = 2) -> dict:
    video = np.random.default_rng(0).integers(0, 256, (clips, 8, 16, 16, 3)).astype(np.uint8)
    return {
        "video": jnp.asarray(video),
        "sample_id": jnp.arange(clips),
        "step": jnp.full(clips, step_number),
    }


@functools.cache
def params() -> dict:
    return network.init(VAE, CFG, jax.random.key(0)) | {
        "discriminator": network.init(Discriminator, CRITIC, jax.random.key(1))
    }


def reconstruction() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, latents and reconstruction, float64."""
    x = jnp.asarray(make_batch()["video"], jnp.float32) / 127.5 - 1
    vae = network.module(VAE, CFG, vae_objective.autoencoder(params()))
    latents = vae.encoder(x)
    return tuple(np.asarray(a, np.float64) for a in (x, latents, vae.decoder(latents)))


def evaluate(cfg: VAELossConfig, batch=None, features=None, with_params=None):
    """(loss, metrics, gradients)."""
    loss_fn = vae_objective.vae_objective(CFG, cfg, features)
    both = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    batch = make_batch() if batch is None else batch
    (loss, metrics), grads = both(with_params or params(), batch, jax.random.key(0))
    return loss, metrics, grads


def is_taught(grads: dict) -> dict[str, bool]:
    return {part: any(np.any(leaf) for leaf in jax.tree.leaves(grads[part])) for part in grads}


def test_the_default_loss_is_its_formula():
    """Squared error, a tenth of the absolute one, 1e-5 of the squared latents: as always."""
    x, latents, decoded = reconstruction()
    cfg = VAELossConfig(latent_noise=0, rough_share=0)
    loss, metrics, _ = evaluate(cfg)
    error = decoded - x
    expected = np.mean(error**2) + 0.1 * np.mean(np.abs(error)) + 1e-5 * np.mean(latents**2)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert set(metrics) == {"psnr", "latent_square", "clips"}


def haar_details(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The low band and the seven others, by sums and differences along one dim after another."""
    bands = [x]
    for axis in (1, 2, 3):
        even = [np.take(b, np.arange(0, b.shape[axis], 2), axis) for b in bands]
        odd = [np.take(b, np.arange(1, b.shape[axis], 2), axis) for b in bands]
        bands = [
            sign / np.sqrt(2) for e, o in zip(even, odd, strict=True) for sign in (e + o, e - o)
        ]
    return bands[0], bands[1:]


def test_the_wavelet_term_is_the_error_of_details():
    x, _, decoded = reconstruction()
    low, first = haar_details(decoded - x)
    _, second = haar_details(low)
    loss, _, _ = evaluate(dataclasses.replace(BARE, wavelet=2.0))
    assert loss == pytest.approx(np.mean(np.abs(first)) + np.mean(np.abs(second)), rel=1e-5)


def test_haar_keeps_energy_and_puts_a_flat_video_in_the_low_band():
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 4, 3)).astype(np.float32)
    low, details = vae_objective.haar(jnp.asarray(x))
    assert jnp.sum(low**2) + jnp.sum(details**2) == pytest.approx(np.sum(x**2), rel=1e-5)
    low, details = vae_objective.haar(jnp.ones((1, 4, 4, 4, 3)))
    np.testing.assert_allclose(details, 0, atol=1e-6)
    np.testing.assert_allclose(low, 8**0.5, rtol=1e-6)


def test_charbonnier_is_rounded_off_and_smooth_at_zero():
    x, _, decoded = reconstruction()
    loss, _, _ = evaluate(dataclasses.replace(BARE, l1=1.0, charbonnier=0.3))
    assert loss == pytest.approx(np.mean(np.sqrt((decoded - x) ** 2 + 0.09)), rel=1e-5)


def test_the_latent_penalty_is_half_a_kl_of_fixed_spread():
    """Its gradient is that of 2 KL(N(mu, s) | N(0, 1)) a value, whatever the spread s."""
    _, mu, _ = reconstruction()
    loss, _, _ = evaluate(dataclasses.replace(BARE, latent_penalty=1.0))
    for spread in (0.1, 0.7):
        kl = 0.5 * (mu**2 + spread**2 - 1 - np.log(spread**2))
        at_zero = 0.5 * (spread**2 - 1 - np.log(spread**2))
        assert loss == pytest.approx(2 * np.mean(kl - at_zero), rel=1e-5)


@pytest.mark.parametrize(
    "term",
    [
        dict(squared=1.0),
        dict(l1=1.0),
        dict(l1=1.0, charbonnier=0.1),
        dict(wavelet=1.0),
        dict(perceptual=PerceptualConfig(weight=1.0, frames=2)),
    ],
    ids=lambda term: " ".join(term),
)
def test_each_term_teaches_encoder_and_decoder(term):
    cfg = dataclasses.replace(BARE, **term)
    _, _, grads = evaluate(cfg, features=tiny_features())
    assert is_taught(grads) == {"encoder": True, "decoder": True, "discriminator": False}


def test_the_latent_penalty_teaches_the_encoder_alone():
    _, _, grads = evaluate(dataclasses.replace(BARE, latent_penalty=1.0))
    assert is_taught(grads) == {"encoder": True, "decoder": False, "discriminator": False}


def test_perceptual_frames_are_one_of_each_part_and_the_same_of_both_videos():
    keys = jax.vmap(jax.random.key)(jnp.arange(50))
    number = jnp.broadcast_to(jnp.arange(8.0)[None, :, None, None, None], (50, 8, 2, 2, 3))
    first, second = vae_objective._some_frames(keys, 4, number, 10 * number)
    np.testing.assert_array_equal(10 * first, second)
    drawn = np.asarray(first[:, :, 0, 0, 0])
    assert np.all(drawn // 2 == np.arange(4))
    assert len(np.unique(drawn)) == 8


def heard(start: int, at: int, **changes):
    adversarial = dataclasses.replace(ADVERSARIAL, start=start, **changes)
    cfg = dataclasses.replace(BARE, squared=1.0, adversarial=adversarial)
    return evaluate(cfg, make_batch(at))


def test_the_autoencoder_hears_the_discriminator_from_its_start_step_on():
    """Before it the autoencoder's gradient is what it is without one; the critic learns always."""
    _, _, alone = evaluate(dataclasses.replace(BARE, squared=1.0))
    _, _, before = heard(start=3, at=2)
    _, _, after = heard(start=3, at=3)
    for part in ("encoder", "decoder"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
            before[part],
            alone[part],
        )
        changes = jax.tree.map(lambda a, b: np.abs(a - b).max() > 1e-6, after[part], before[part])
        assert any(jax.tree.leaves(changes))
    jax.tree.map(np.testing.assert_array_equal, before["discriminator"], after["discriminator"])
    assert is_taught(before)["discriminator"]


def test_the_adversarial_gradient_is_a_share_of_the_reconstructions():
    """At each clip's pixels its norm is `weight` times that of the error's own gradient."""
    rng = np.random.default_rng(0)
    video, decoded = jnp.asarray(rng.uniform(-1, 1, (2, 3, 4, 8, 8, 3)), jnp.float32)
    duel = vae_objective._Duel(ADVERSARIAL, params()["discriminator"])

    def fidelity(x):
        return jnp.mean(jnp.square(x - video)), {}

    steps = jnp.zeros(3, jnp.int32)
    slope = jax.grad(lambda x: duel.loss(fidelity, x, video, steps)[0])(decoded)
    wanted = 2 * (decoded - video) / decoded.size
    norms = [np.sqrt(np.sum(np.square(g), (1, 2, 3, 4))) for g in (slope - wanted, wanted)]
    np.testing.assert_allclose(norms[0], ADVERSARIAL.weight * norms[1], rtol=1e-4)
    # Down this slope the critic takes the reconstruction for more real.
    judge = network.module(Discriminator, CRITIC, params()["discriminator"])
    moved = decoded - 1e-2 * (slope - wanted) / np.abs(slope - wanted).max()
    assert jnp.mean(judge(moved)) > jnp.mean(judge(decoded))


def test_the_adaptive_weight_is_the_ratio_of_norms_and_bounded():
    wanted, given = np.zeros((2, 2, 4, 2, 2, 3), np.float32)
    wanted[:, 0, 0, 0] = [3, 4, 0]
    given[0, 1, 0, 0], given[1] = [0, 0, 2], 0
    weights = vae_objective.adaptive_weight(jnp.asarray(wanted), jnp.asarray(given), 7.0)
    np.testing.assert_allclose(weights[:, 0, 0, 0, 0], [5 / 2, 7.0])


def test_the_discriminator_learns_to_tell_them_apart():
    """Down its own gradient real logits rise against fake ones, and its loss is the hinge."""
    _, before, grads = heard(start=10**6, at=0, r1=0.0)
    critic = jax.tree.map(
        lambda p, g: p - 1e-2 * g, params()["discriminator"], grads["discriminator"]
    )
    cfg = dataclasses.replace(BARE, squared=1.0, adversarial=dataclasses.replace(ADVERSARIAL, r1=0))
    _, after, _ = evaluate(cfg, with_params=params() | {"discriminator": critic})
    assert after["discriminator_loss"] < before["discriminator_loss"]
    gap = [m["logit_real"] - m["logit_fake"] for m in (before, after)]
    assert gap[1] > gap[0]
    x, _, decoded = reconstruction()
    judge = network.module(Discriminator, CRITIC, params()["discriminator"])
    real, fake = (np.asarray(judge(jnp.asarray(v, jnp.float32))) for v in (x, decoded))
    hinge = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
    assert before["discriminator_loss"] == pytest.approx(hinge, rel=1e-4)


def test_r1_is_the_squared_slope_of_the_logits_at_real_pixels():
    cfg = DiscriminatorConfig(patch=2, widths=(4,), dtype="float32")
    critic = network.init(Discriminator, cfg, jax.random.key(1))
    video = jax.random.normal(jax.random.key(2), (2, 4, 4, 4, 3))
    duel = vae_objective._Duel(AdversarialConfig(weight=1.0, discriminator=cfg), critic)
    each = jax.jacrev(network.module(Discriminator, cfg, critic))(video)  # B n h w B T H W 3
    slope = np.asarray(jnp.sum(each, (0, 1, 2, 3)))
    assert duel._slope(video, 8) == pytest.approx(np.sum(slope**2) / 8, rel=1e-4)


def test_r1_flattens_the_discriminator():
    with_r1, without = (heard(start=10**6, at=0, r1=r1) for r1 in (10.0, 0.0))
    slope = jax.tree.map(jnp.subtract, with_r1[2]["discriminator"], without[2]["discriminator"])
    size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope))
    critic = jax.tree.map(lambda p, g: p - 1e-2 * g / size, params()["discriminator"], slope)
    cfg = dataclasses.replace(BARE, squared=1.0, adversarial=ADVERSARIAL)
    _, after, _ = evaluate(cfg, with_params=params() | {"discriminator": critic})
    assert after["r1"] < with_r1[1]["r1"]


def test_a_batch_in_parts_has_the_loss_and_gradients_of_the_whole():
    """Every clip has its own adaptive weight, so its neighbours do not matter."""
    cfg = dataclasses.replace(BARE, squared=1.0, adversarial=ADVERSARIAL)
    loss_fn = vae_objective.vae_objective(CFG, cfg)
    batch = make_batch(clips=4)
    whole, parts = (
        jax.jit(step.make_gradient(loss_fn, n))(params(), batch, jax.random.key(0)) for n in (1, 2)
    )
    assert float(parts[0]) == pytest.approx(float(whole[0]), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-3, 1e-6), parts[2], whole[2])


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_discriminator_sees_order_in_time_and_space(dim):
    """A clip backward, upside down or mirrored has other logits, not the same ones elsewhere."""
    judge = network.module(Discriminator, CRITIC, params()["discriminator"])
    video = jax.random.normal(jax.random.key(3), (1, 4, 16, 16, 3))
    gap = jnp.sort(judge(video), axis=None) - jnp.sort(judge(jnp.flip(video, dim)), axis=None)
    assert jnp.abs(gap).max() > 1e-2


def test_the_discriminator_sees_across_chunks():
    judge = network.module(Discriminator, CRITIC, params()["discriminator"])
    video = jax.random.normal(jax.random.key(3), (1, 12, 8, 8, 3))
    change = jnp.abs(judge(video.at[:, 4:8].add(0.5)) - judge(video)).max((0, 2, 3))
    assert jnp.all(change > 1e-3)


def linear_vae():
    """A VAE that is the best linear codec of two clips, and the clips: all noise must hurt it."""
    cfg = PARTS["model"].vae
    video = np.asarray(make_batch()["video"])
    folded = np.asarray(fold(jnp.asarray(video, jnp.float32) / 127.5 - 1, cfg.codec_size))
    codec = linear.fit(folded, cfg.codec_channels)
    start = without_networks(linear.start_at(PARTS["params"]["vae"], codec))
    return cfg, jax.tree.map(jnp.asarray, start)


def test_the_loss_falls_with_the_error_it_reports():
    """The PSNR it reports is that of the reconstruction when no noise is put on latents."""
    cfg, start = linear_vae()
    loss_fn = vae_objective.vae_objective(cfg, VAELossConfig(latent_noise=0.0, rough_share=0.0))
    _, metrics = loss_fn(start, make_batch(), jax.random.key(0))
    vae = network.module(VAE, cfg, start)
    x = jnp.asarray(make_batch()["video"], jnp.float32) / 127.5 - 1
    mse = np.mean(np.square(vae.decoder(vae.encoder(x)) - x))
    assert metrics["psnr"] == pytest.approx(10 * np.log10(4 / mse), abs=1e-3)
    for noisy in (dict(latent_noise=1.0, rough_share=0.0), dict(rough_share=1.0, rough_noise=1.0)):
        loss_fn = vae_objective.vae_objective(cfg, VAELossConfig(**noisy))
        assert loss_fn(start, make_batch(), jax.random.key(0))[1]["psnr"] < metrics["psnr"]


@pytest.mark.parametrize("rough_share", [0.0, 1.0])
def test_rough_latents_teach_the_decoder_alone(rough_share):
    _, _, grads = evaluate(VAELossConfig(rough_share=rough_share))
    assert is_taught(grads) == {
        "encoder": rough_share == 0,
        "decoder": True,
        "discriminator": False,
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(l1=-1.0), "l1 is -1.0"),
        (dict(wavelet=float("nan")), "wavelet is nan"),
        (dict(perceptual=dict(network="lpips")), "'lpips'.*lpips_vgg"),
        (dict(perceptual=dict(weight=1.0, network="lpips_vgg")), "has no weights.*npz"),
        (dict(perceptual=dict(frames=-1)), "frames is -1"),
        (dict(perceptual=dict(weight=-1.0)), "weight is -1"),
        (dict(adversarial=dict(start=-1)), "start is step -1"),
        (dict(adversarial=dict(r1=-1.0)), "r1 is -1"),
        (dict(adversarial=dict(discriminator=dict(widths=()))), "widths"),
    ],
    ids=str,
)
def test_bad_settings_are_one_clear_line(values, words):
    with pytest.raises(UsageError, match=words) as caught:
        config.resolve(VAELossConfig, values)
    assert "\n" not in str(caught.value)


def test_frames_that_do_not_divide_the_clip_are_an_error():
    cfg = dataclasses.replace(BARE, perceptual=PerceptualConfig(weight=1.0, frames=3))
    with pytest.raises(ValueError, match="8 frames are not 3 equal parts"):
        evaluate(cfg, features=tiny_features())


def test_the_perceptual_term_is_the_mean_distance_of_frames():
    from sora_jax.models.vae import perceptual

    x, _, decoded = reconstruction()
    pictures = [
        jnp.asarray(rearrange(v, "b t h w c -> (b t) h w c"), jnp.float32) for v in (decoded, x)
    ]
    expected = jnp.mean(perceptual.distance("efficientnet_lite0", tiny_features(), *pictures))
    cfg = dataclasses.replace(BARE, perceptual=PerceptualConfig(weight=3.0))
    loss, metrics, _ = evaluate(cfg, features=tiny_features())
    assert metrics["perceptual"] == pytest.approx(float(expected), rel=1e-4)
    assert loss == pytest.approx(3 * float(expected), rel=1e-4)
