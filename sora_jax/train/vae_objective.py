"""What the autoencoder is trained for: a sum of terms, each with its weight; 0 is not computed.

The posterior of a latent is a normal of fixed spread `latent_noise` around the encoder's output
(sigma-VAE): the noise is drawn while training, and the KL divergence from a standard normal is
then half the square of the output and a constant. `latent_penalty` weighs that square, so a
weight w is a weight of 2 w on the KL of each latent value. No spread is learned.

With an adversarial term, the discriminator is trained by the same loss: what either side must not
learn from is behind `stop_gradient`, so one backward pass and one optimizer serve both.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from einops import rearrange

from sora_jax.arrays import Array, Float, Key, Params, Scalar
from sora_jax.models import network
from sora_jax.models.vae import perceptual
from sora_jax.models.vae.discriminator import Discriminator, DiscriminatorConfig
from sora_jax.models.vae.vae import VAE, VAEConfig
from sora_jax.train.objectives import LossFn, Metrics

_WAVELET_LEVELS = 2  # a chunk of 4 frames and sides that are multiples of 4 halve twice


def _check_weights(**weights: float) -> None:
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; give 0 (off) or a finite number above it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualConfig:
    """The distance of frames to the features of a frozen network."""

    weight: float = 0.0
    network: Literal["efficientnet_lite0", "lpips_vgg"] = "efficientnet_lite0"
    weights: str = ""  # file of lpips_vgg's weights: safetensors or npz (`export.features`)
    frames: int = 0  # of each clip, one drawn from each of as many equal parts; 0: all

    def __post_init__(self):
        _check_weights(weight=self.weight)
        if self.frames < 0:
            raise ValueError(f"frames is {self.frames}; give 0 for all of a clip's, or more")
        if self.weight and self.network == "lpips_vgg" and not self.weights:
            raise ValueError(
                "network 'lpips_vgg' has no weights: give their safetensors or npz file in "
                "`weights`, or take the network 'efficientnet_lite0'"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The discriminator, and how much the autoencoder listens to it."""

    weight: float = 0.0
    """Of the hinge term, in shares of the reconstruction's own gradient at a clip's pixels."""
    start: int = 0  # step from which the autoencoder hears it; it learns from the first on
    max_adaptive: float = 1e4  # bound on the ratio of the two gradients' norms
    r1: float = 0.0  # of half the squared slope of a logit at real pixels; 0: none
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

    def __post_init__(self):
        if self.start < 0:
            raise ValueError(f"start is step {self.start}; give 0 or more")
        _check_weights(weight=self.weight, r1=self.r1, max_adaptive=self.max_adaptive)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAELossConfig:
    """How the autoencoder is trained. The first weights are of means over all pixel values."""

    squared: float = 1.0  # of the squared error; pixels are in [-1, 1]
    l1: float = 0.1  # of the absolute error
    charbonnier: float = 0.0  # rounds it off at 0: sqrt(error^2 + charbonnier^2); 0: it is not
    wavelet: float = 0.0  # of the absolute error of the detail bands of a Haar transform
    latent_noise: float = 0.1
    """Spread of the noise put on latents; the linear codec's have mean variance 1."""
    rough_share: float = 1.0
    """Share of clips whose latents are disturbed as sampled ones are. The decoder alone learns
    from them: an encoder that sees noise evens out its channels to survive it. 1 leaves the encoder
    where it starts."""
    rough_noise: float = 0.3
    """Largest spread of their noise, in root mean squares of the latents; drawn from 0 up."""
    latent_penalty: float = 1e-5  # on the square of latents
    perceptual: PerceptualConfig = PerceptualConfig()
    adversarial: AdversarialConfig = AdversarialConfig()

    def __post_init__(self):
        names = ("squared", "l1", "charbonnier", "wavelet", "latent_penalty")
        _check_weights(**{name: getattr(self, name) for name in names})


def vae_objective(
    cfg: VAEConfig, loss_cfg: VAELossConfig, features: Params | None = None
) -> LossFn:
    """Reconstruction of `batch["video"]` (uint8 B T H W 3) through noisy latents.

    `features` are the frozen weights of the perceptual term. With an adversarial term the
    parameters hold a "discriminator" and `batch["step"]` (B) says which step it is.
    """

    def loss_fn(params: Params, batch: Any, key: Key) -> tuple[Scalar, Metrics]:
        video = batch["video"].astype(jnp.float32) / 127.5 - 1
        vae = network.module(VAE, cfg, autoencoder(params))
        latents = vae.encoder(video)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(batch["sample_id"])
        taught, noise = jax.vmap(lambda k, clip: _disturb(k, clip, loss_cfg))(keys, latents)
        decoded = vae.decoder(taught + noise)

        def fidelity(decoded: Float[Array, "B T H W 3"]) -> tuple[Scalar, Metrics]:
            return _fidelity(loss_cfg, features, decoded, video, keys)

        if loss_cfg.adversarial.weight:
            duel = _Duel(loss_cfg.adversarial, params["discriminator"])
            loss, figures = duel.loss(fidelity, decoded, video, batch["step"])
        else:
            loss, figures = fidelity(decoded)
        loss = loss + loss_cfg.latent_penalty * jnp.mean(jnp.square(taught))
        return loss, figures | {
            "latent_square": jnp.mean(jnp.square(latents)),
            "clips": jnp.float32(len(video)),
        }

    return loss_fn


def autoencoder(params: Params) -> Params:
    """The parameters without the discriminator's: what is evaluated and exported."""
    return {name: params[name] for name in ("encoder", "decoder")}


def adaptive_weight(
    wanted: Float[Array, "B T H W 3"], given: Float[Array, "B T H W 3"], largest: float
) -> Float[Array, "B 1 1 1 1"]:
    """What `given`, a clip's gradient at its pixels, is multiplied by to be as long as `wanted`.

    At most `largest`. Of each clip by itself, so that it doesn't depend on the others of a batch.
    """
    norms = [jnp.sqrt(jnp.sum(jnp.square(g), (1, 2, 3, 4), keepdims=True)) for g in (wanted, given)]
    return jnp.minimum(norms[0] / jnp.maximum(norms[1], 1e-12), largest)


def haar(x: Float[Array, "B T H W C"]) -> tuple[Array, Array]:
    """One level of the orthonormal 3-D Haar transform: (low band, the 7 detail bands).

    Each is of half the size; detail bands are in the last dim, 7 for each channel.
    """
    cubes = rearrange(x, "b (t p) (h q) (w r) c -> b t h w c (p q r)", p=2, q=2, r=2)
    pair = jnp.array([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
    bands = cubes @ jnp.kron(jnp.kron(pair, pair), pair)
    return bands[..., 0], rearrange(bands[..., 1:], "b t h w c k -> b t h w (c k)")


def _disturb(key: Key, latents: Float[Array, "n h w C"], cfg: VAELossConfig) -> tuple[Array, Array]:
    """A clip's latents, cut from the encoder if they are rough, and the noise to put on them.

    What the decoder learns to tolerate, the transformer may get wrong.
    """
    noise_key, draw_key = jax.random.split(key)
    coin, level = jax.random.uniform(draw_key, (2,))
    is_rough = coin < cfg.rough_share
    still = jax.lax.stop_gradient(latents)
    size = jnp.sqrt(jnp.mean(jnp.square(still)))
    spread = jnp.where(is_rough, cfg.rough_noise * level * size, cfg.latent_noise)
    taught = jnp.where(is_rough, still, latents)
    return taught, spread * jax.random.normal(noise_key, latents.shape)


def _fidelity(
    cfg: VAELossConfig, features: Params | None, decoded: Array, video: Array, keys: Array
) -> tuple[Scalar, Metrics]:
    """The terms that compare a reconstruction with its source, and their figures."""
    error = decoded - video
    mse = jnp.mean(jnp.square(error))
    figures = {"psnr": 10 * jnp.log10(4 / mse)}
    loss = cfg.squared * mse if cfg.squared else jnp.zeros(())
    if cfg.l1:
        loss = loss + cfg.l1 * jnp.mean(_absolute(error, cfg.charbonnier))
    if cfg.wavelet:
        figures["wavelet"] = _wavelet(error)
        loss = loss + cfg.wavelet * figures["wavelet"]
    if cfg.perceptual.weight:
        figures["perceptual"] = _perceptual(cfg.perceptual, features, decoded, video, keys)
        loss = loss + cfg.perceptual.weight * figures["perceptual"]
    return loss, figures


def _absolute(error: Array, rounding: float) -> Array:
    if not rounding:
        return jnp.abs(error)
    return jnp.sqrt(jnp.square(error) + rounding**2)


def _wavelet(error: Float[Array, "B T H W 3"]) -> Scalar:
    """Mean absolute value of the detail bands, over two levels.

    The transform is linear: the bands of the error are the differences of the bands.
    """
    total, low = jnp.zeros(()), error
    for _ in range(_WAVELET_LEVELS):
        low, details = haar(low)
        total = total + jnp.mean(jnp.abs(details))
    return total / _WAVELET_LEVELS


def _perceptual(
    cfg: PerceptualConfig, features: Params | None, decoded: Array, video: Array, keys: Array
) -> Scalar:
    if features is None:
        raise ValueError(f"the weights of {cfg.network} are not given: read them before")
    if cfg.frames:
        decoded, video = _some_frames(keys, cfg.frames, decoded, video)
    pictures = [rearrange(x, "b t h w c -> (b t) h w c") for x in (decoded, video)]
    return jnp.mean(perceptual.distance(cfg.network, features, *pictures))


def _some_frames(keys: Array, count: int, *videos: Array) -> tuple[Array, ...]:
    """One frame drawn from each of `count` equal parts of a clip, the same of each video."""
    part = videos[0].shape[1] // count
    if part * count != videos[0].shape[1]:
        raise ValueError(f"{videos[0].shape[1]} frames are not {count} equal parts; give a divisor")

    def draw(key: Key) -> Array:
        offsets = jax.random.randint(jax.random.fold_in(key, 2), (count,), 0, part)
        return offsets + part * jnp.arange(count)

    index = jax.vmap(draw)(keys)[:, :, None, None, None]
    return tuple(jnp.take_along_axis(video, index, 1) for video in videos)


class _Duel:
    """Autoencoder against discriminator, as one loss."""

    def __init__(self, cfg: AdversarialConfig, params: Params):
        self._cfg = cfg
        self._params = params
        self._held = jax.lax.stop_gradient(params)

    def loss(self, fidelity, decoded: Array, video: Array, step: Array) -> tuple[Scalar, Metrics]:
        """The sum of both sides' losses, and what `fidelity` and they say.

        Gradients of the autoencoder's terms are taken at the pixels, where their lengths are
        compared; the decoder's backward pass starts from their sum. `step` holds one number, B
        times.
        """
        cfg, still = self._cfg, jax.lax.stop_gradient(decoded)
        (error, figures), wanted = jax.value_and_grad(fidelity, has_aux=True)(still)
        hinge, given = jax.value_and_grad(lambda x: -jnp.mean(self._judge(self._held, x)))(still)
        adaptive = adaptive_weight(wanted, given, cfg.max_adaptive)
        heard = cfg.weight * jnp.where(step[0] >= cfg.start, 1.0, 0.0)
        scale = heard * adaptive
        value = error + jnp.mean(scale) * hinge
        loss = _with_gradient(value, wanted + scale * given, decoded)

        real, fake = self._judge(self._params, video), self._judge(self._params, still)
        critic = jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
        loss = loss + critic
        if cfg.r1:
            figures["r1"] = self._slope(video, real.size)
            loss = loss + cfg.r1 / 2 * figures["r1"]
        return loss, figures | {
            "discriminator_loss": critic,
            "logit_real": jnp.mean(real),
            "logit_fake": jnp.mean(fake),
            "adaptive_weight": jnp.mean(adaptive),
        }

    def _judge(self, params: Params, video: Array) -> Float[Array, "B n h w"]:
        return network.module(Discriminator, self._cfg.discriminator, params)(video)

    def _slope(self, video: Array, places: int) -> Scalar:
        """Squared slope of a logit at real pixels (R1, Mescheder et al. 2018, eq. 9).

        Logits look at little more than their own place, so the slope of their sum has about the sum
        of their squared slopes.
        """
        slope = jax.grad(lambda x: jnp.sum(self._judge(self._params, x)))(video)
        return jnp.sum(jnp.square(slope)) / places


def _with_gradient(value: Scalar, gradient: Array, x: Array) -> Scalar:
    """`value`, with this gradient with regard to `x`."""
    value, gradient = jax.lax.stop_gradient((value, gradient))
    return value + jnp.sum(gradient * (x - jax.lax.stop_gradient(x)))
