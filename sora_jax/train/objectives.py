"""What the transformer is trained for: where the networks meet the diffusion.

An objective is `loss_fn(params, batch, key) -> (loss, metrics)`; the loss is a mean over
`metrics["clips"]` clips. All randomness of a clip comes from its sample id, so a clip has the same
task, noise and loss alone, packed with others, or on another device. `batch["step"]` says for every
row which step it is, for terms that begin at one. The autoencoder's is in `vae_objective`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.arrays import Array, Bool, Key, Params, Scalar
from sora_jax.canvas import PADDING, Canvas
from sora_jax.diffusion import canvas as canvas_rules
from sora_jax.diffusion import flow, precondition
from sora_jax.diffusion.canvas import TaskShares
from sora_jax.diffusion.noise_levels import NoiseConfig, sample_sigma
from sora_jax.models import network
from sora_jax.models.layout import ONE_DEVICE, Layout
from sora_jax.models.network import ModelConfig

type Metrics = dict[str, Scalar]
type LossFn = Callable[[Params, Any, Key], tuple[Scalar, Metrics]]

NULL_TEXT = 1  # the tokenizer's id of "no caption"
_TASK_FIRST = canvas_rules.TASKS.index("first")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """How the transformer is trained."""

    prediction: str = "x0"  # what the network's output stands for: x0 | velocity
    loss_space: str = "x0"  # x0 | velocity
    weight_clip: float = 20.0  # largest weight of a squared error of x0
    noise: NoiseConfig = NoiseConfig()
    tasks: TaskShares = TaskShares()
    drop_text: float = 0.10
    drop_condition: float = 0.10
    drop_both: float = 0.05


def dit_objective(
    cfg: ModelConfig,
    train: DiffusionConfig,
    layout: Layout = ONE_DEVICE,
    *,
    sigma_edges: tuple[float, ...] = (),
) -> LossFn:
    """Denoising of packed rows (`data.packing`) under a task drawn for each clip.

    With K + 1 `sigma_edges`, rising, the figures have `bin_loss` and `bin_tokens` (K): the sum of
    the tokens' losses and their number, by the sigma of the token, lower edge included.
    """
    variance = jnp.asarray(cfg.token_variance, jnp.float32)

    def loss_fn(params: Params, batch: Any, key: Key) -> tuple[Scalar, Metrics]:
        draws = jax.vmap(lambda row: _draw(row, key, train))(batch)
        canvas = build_canvas(batch, draws.known, draws.drop_text, cfg.known_bits)
        sigma = draws.sigma * canvas_rules.frame_factor(canvas)
        per_token = jnp.take_along_axis(sigma, canvas.frame, 1)[..., None]
        xt = flow.add_noise(batch["tokens"], draws.noise, per_token)
        xt = canvas_rules.impose(xt, canvas)
        scales = precondition.precondition(per_token, variance, train.prediction)
        raw = network.apply_dit(cfg, params, scales.c_in * xt, sigma, canvas, layout=layout)
        x0 = scales.c_skip * xt + scales.c_out * raw
        weight = precondition.loss_weight(per_token[..., 0], train.loss_space, train.weight_clip)
        error = weight * jnp.mean(jnp.square(x0 - batch["tokens"]), -1)
        wanted = (canvas.role != PADDING) & ~canvas_rules.known_tokens(canvas)
        loss, clips = _clip_means(error, wanted, canvas.segment, batch["sample_id"])
        figures = {"known_share": jnp.mean(draws.known), "clips": clips}
        if sigma_edges:
            figures |= _by_sigma(error, wanted, per_token[..., 0], sigma_edges)
        return loss, figures

    return loss_fn


def _by_sigma(
    error: Array, wanted: Array, sigma: Array, edges: tuple[float, ...]
) -> dict[str, Array]:
    place = jnp.searchsorted(jnp.asarray(edges), sigma, side="right") - 1
    member = jax.nn.one_hot(place, len(edges) - 1) * wanted[..., None]
    return {
        "bin_loss": jnp.einsum("bl,blk->k", error, member),
        "bin_tokens": jnp.sum(member, (0, 1)),
    }


def build_canvas(
    batch: Any, known: Bool[Array, "B L"], drop_text: Bool[Array, "B G"], known_bits: int
) -> Canvas:
    """The canvas of packed rows in which the tokens `known` are given and some texts dropped."""
    segment = jnp.maximum(batch["text_segment"], 0)
    drop = jnp.take_along_axis(drop_text, segment, 1)
    # A dropped caption is one null token: the first of each clip's, the rest become padding.
    first = jnp.concatenate(
        [
            jnp.ones_like(segment[:, :1], bool),
            batch["text_segment"][:, 1:] != batch["text_segment"][:, :-1],
        ],
        1,
    )
    text = jnp.where(drop & (batch["text"] != 0), jnp.where(first, NULL_TEXT, 0), batch["text"])
    span = jnp.where(drop[..., None], jnp.array([0.0, 1e6]), batch["text_span"])
    return Canvas(
        cond=jnp.where(known[..., None], batch["tokens"], 0.0),
        known=jnp.repeat(known[..., None].astype(jnp.float32), known_bits, -1),
        text=text,
        text_span=span,
        **{
            name: batch[name]
            for name in (
                "position",
                "role",
                "segment",
                "frame",
                "frame_segment",
                "frame_seconds",
                "meta",
                "text_segment",
            )
        },
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Draws:
    known: Array  # L
    noise: Array  # L P
    sigma: Array  # F
    drop_text: Array  # G


def _draw(row: Any, key: Key, train: DiffusionConfig) -> _Draws:
    """The draws of one row, each clip's from its own key."""
    clips = jnp.arange(row["sample_id"].shape[0])
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(row["sample_id"])
    known, sigma, drop_text = jax.vmap(lambda clip, k: _draw_clip(row, clip, k, train))(clips, keys)
    token_clip = jnp.maximum(row["segment"], 0)
    frame_clip = jnp.maximum(row["frame_segment"], 0)
    number = jnp.arange(row["tokens"].shape[0]) - row["clip_start"][token_clip, 0]

    def token_noise(clip, i):
        token_key = jax.random.fold_in(jax.random.fold_in(keys[clip], 0), i)
        return jax.random.normal(token_key, row["tokens"].shape[1:])

    frame = jnp.arange(frame_clip.shape[0]) - row["clip_start"][frame_clip, 1]
    return _Draws(
        known=known[token_clip, jnp.arange(number.shape[0])] & (row["segment"] >= 0),
        noise=jax.vmap(token_noise)(token_clip, number),
        sigma=sigma[frame_clip, frame],
        drop_text=drop_text,
    )


def _draw_clip(row: Any, clip: Array, key: Key, train: DiffusionConfig):
    """(known L, sigma F in the clip's own frame order, whether its text is dropped)."""
    task_key, mask_key, sigma_key, drop_key = jax.random.split(jax.random.fold_in(key, 1), 4)
    must = row["needs_first"][clip]
    task = jnp.where(must, _TASK_FIRST, canvas_rules.draw_task(task_key, train.tasks))
    known = canvas_rules.known_mask(mask_key, task, row["index"], row["clip_grid"][clip])
    drop = jax.random.uniform(drop_key)
    both = train.drop_both
    drop_text = drop < both + train.drop_text
    drop_known = (drop < both) | (
        (drop > both + train.drop_text) & (drop < both + train.drop_text + train.drop_condition)
    )
    order = jnp.roll(row["frame_place"], -row["clip_start"][clip, 1])
    sigma = sample_sigma(sigma_key, train.noise, order)
    return known & (must | ~drop_known), sigma, drop_text


def _clip_means(
    error: Array, wanted: Array, segment: Array, sample_id: Array
) -> tuple[Scalar, Scalar]:
    """Mean over the clips of each clip's mean over its wanted tokens, and the number of clips."""
    member = jax.nn.one_hot(segment, sample_id.shape[1]) * wanted[..., None]
    total = jnp.einsum("bl,blg->bg", error, member)
    count = jnp.sum(member, 1)
    present = count > 0
    mean = jnp.where(present, total / jnp.maximum(count, 1), 0.0)
    clips = jnp.maximum(jnp.sum(present), 1).astype(jnp.float32)
    return jnp.sum(mean) / clips, clips
