"""The engine: a bundle that samples. Every tool is a choice of what is known on the canvas.

One compiled program serves all requests of a geometry: prompts, seeds, known latents, guidance and
the grid's levels are data. A clip's noise comes from its seed and chunk numbers, so a result does
not depend on what is sampled beside it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sora_jax.arrays import Array, Float, Int, Params
from sora_jax.canvas import Canvas
from sora_jax.diffusion import grids, guidance, precondition, sampler
from sora_jax.export.bundle import Bundle
from sora_jax.export.sampling import CHUNK_FRAMES, SamplingConfig
from sora_jax.generate.canvas import build_canvas, encode_captions, encode_negatives
from sora_jax.generate.request import Request, latent_grid, make_guidance, token_grid
from sora_jax.models import network, patchify
from sora_jax.models.network import ModelConfig

Latents = NDArray[np.float32]  # B n h w C, normalised
Video = NDArray[np.uint8]  # B T H W 3
PIECE = 16  # chunks that are decoded at once; a longer clip takes no more memory beside its frames


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """What is sampled at once."""

    canvas: Canvas
    away: Canvas
    """The same with what guidance moves away from as its text."""
    seeds: Int[Array, " B"]
    chunks: Int[Array, " F"]
    """Number of each chunk of the window in the whole clip, which may be negative."""
    start: Float[Array, "B L P"]
    """What sampling begins from, noised to each chunk's strength."""
    strength: Float[Array, "B F"]
    rolls: Int[Array, " N"]
    """How many chunks the window is turned by at each step."""


class Engine:
    """Encode, sample and decode with one model, at most `max_batch` clips at a time."""

    def __init__(self, bundle: Bundle, *, max_batch: int = 32):
        self.bundle = bundle
        self.model = bundle.model
        self.params = jax.device_put(bundle.params)
        self.max_batch = max_batch

    def encode(self, video: Video) -> Latents:
        """Latents of clips of whole chunks; each chunk is encoded alone."""
        return self._in_batches(
            len(video), lambda rows: encode_rows(self.params["vae"], video[rows], model=self.model)
        )

    def decode(self, latents: Latents, *, is_loop: bool = False) -> Video:
        """Clips of any number of chunks, each seen after the one before it.

        In a loop, the chunk before the first one is the last.
        """
        if is_loop:
            return self.decode(np.concatenate([latents[:, -1:], latents], 1))[:, CHUNK_FRAMES:]
        if latents.shape[1] > PIECE:
            first = self.decode(latents[:, :PIECE])
            rest = [
                self.decode(latents[:, start - 1 : start + PIECE - 1])[:, CHUNK_FRAMES:]
                for start in range(PIECE, latents.shape[1], PIECE - 1)
            ]
            return np.concatenate([first, *rest], axis=1)
        return self._in_batches(
            len(latents), lambda rows: _decode(self.params["vae"], latents[rows], model=self.model)
        )

    def sample(
        self,
        requests: Sequence[Request],
        settings: SamplingConfig,
        *,
        latents: Latents | None = None,
        known: NDArray[np.bool_] | None = None,
        strength: NDArray[np.floating] | None = None,
        first_chunk: int = 0,
        is_loop: bool = False,
    ) -> Latents:
        """Sample a window of settings.num_frames for each request.

        Known `latents` (B n h w C, where `known`, B n h w, is True) come out exactly as given.
        Elsewhere they are what a chunk of `strength` (B n, in [0, 1]) below 1 begins from: at 1 it
        begins from noise alone, at 0 it stays as it is. `first_chunk` is the window's place in a
        longer clip, for its noise. In a loop the last chunk is followed by the first: the window is
        turned by another number of chunks at each step, so that no place is its end.
        """
        shape = (len(requests), *latent_grid(self.model, settings))
        if latents is None:
            latents = np.zeros((*shape, self.model.vae.channels), np.float32)
        known = np.zeros(shape, bool) if known is None else known
        strength = np.ones(shape[:2], np.float32) if strength is None else strength
        assert known.shape == shape == latents.shape[:-1], (known.shape, shape, latents.shape)
        assert not (is_loop and known.any()), "what is known in a loop has no place"
        rolls = _turns(settings.steps, shape[1]) if is_loop else np.zeros(settings.steps, np.int32)
        captions = encode_captions(self.bundle.tokenizer, requests)
        negatives = encode_negatives(self.bundle.tokenizer, requests)
        seeds = np.array([request.seed for request in requests], np.int32)
        chunks = np.arange(first_chunk, first_chunk + shape[1], dtype=np.int32)

        def some(rows: NDArray[np.int64]) -> Array:
            texts = captions[0][rows], captions[1][rows]
            canvas = build_canvas(self.model, settings, texts, latents[rows], known[rows])
            tokens = sample_rows(
                self.params["dit"],
                Rows(
                    canvas=canvas,
                    away=canvas.replace(
                        text=jnp.asarray(negatives[0][rows]),
                        text_span=jnp.asarray(negatives[1][rows]),
                    ),
                    seeds=jnp.asarray(seeds[rows]),
                    chunks=jnp.asarray(chunks),
                    start=patchify.to_tokens(jnp.asarray(latents[rows]), self.model.dit.patch),
                    strength=jnp.asarray(strength[rows], jnp.float32),
                    rolls=jnp.asarray(rolls),
                ),
                grids.sigma_grid(settings.steps, settings.shift),
                make_guidance(settings).strength(),
                model=self.model,
                solver=settings.solver,
                prediction=settings.prediction,
            )
            return patchify.from_tokens(
                tokens, token_grid(self.model, settings), self.model.dit.patch
            )

        return self._in_batches(len(requests), some)

    def _in_batches(self, count: int, run) -> np.ndarray:
        # The last batch is filled up with copies of the last clip, so that one program serves all.
        size = min(count, self.max_batch)
        starts = range(0, count, size)
        parts = [np.asarray(run(np.minimum(np.arange(s, s + size), count - 1))) for s in starts]
        return np.concatenate(parts)[:count]


def example(
    model: ModelConfig, settings: SamplingConfig, count: int
) -> tuple[Rows, Array, guidance.Strength | None]:
    """Arguments of `sample_rows` after the parameters, for `count` clips with nothing known."""
    shape, words = (count, *latent_grid(model, settings)), model.text.max_tokens
    texts = np.ones((count, words), np.int32), np.zeros((count, words, 2), np.float32)
    latents = np.zeros((*shape, model.vae.channels), np.float32)
    canvas = build_canvas(model, settings, texts, latents, np.zeros(shape, bool))
    rows = Rows(
        canvas=canvas,
        away=canvas,
        seeds=jnp.zeros(count, jnp.int32),
        chunks=jnp.arange(shape[1], dtype=jnp.int32),
        start=jnp.zeros(canvas.cond.shape),
        strength=jnp.ones(shape[:2]),
        rolls=jnp.zeros(settings.steps, jnp.int32),
    )
    grid = grids.sigma_grid(settings.steps, settings.shift)
    return rows, grid, make_guidance(settings).strength()


@functools.partial(jax.jit, static_argnames=("model",))
def encode_rows(params: Params, video: Array, *, model: ModelConfig):
    """The program of `Engine.encode`: uint8 B T H W 3 -> normalised latents."""
    return network.vae_encode(model, params, video.astype(jnp.float32) / 127.5 - 1)


@functools.partial(jax.jit, static_argnames=("model",))
def _decode(params: Params, latents: Float[Array, "B n h w C"], *, model: ModelConfig):
    video = network.vae_decode(model, params, latents)
    return jnp.round(jnp.clip((video + 1) * 127.5, 0, 255)).astype(jnp.uint8)


def num_programs() -> int:
    """How many programs sampling has been compiled to in this process."""
    return sample_rows._cache_size()  # type: ignore[attr-defined]


@functools.partial(jax.jit, static_argnames=("model", "solver", "prediction"))
def sample_rows(
    params: Params,
    rows: Rows,
    grid: Float[Array, " N"],
    strength: guidance.Strength | None,
    *,
    model: ModelConfig,
    solver: str,
    prediction: str,
) -> Float[Array, "B L P"]:
    """The program of `Engine.sample`: all steps of a window, over the levels of `grid`."""
    denoise = guidance.make_guided(
        make_denoise(model, params, rows.canvas, prediction),
        make_denoise(model, params, rows.away, prediction),
        strength,
    )
    noise = _draw_noise(rows, *rows.canvas.cond.shape[1:])
    path = sampler.Path(grid=grid, strength=rows.strength, rolls=rows.rolls)
    return sampler.sample(denoise, rows.start, noise, rows.canvas, path, solver=solver)


def make_denoise(
    model: ModelConfig, params: Params, canvas: Canvas, prediction: str
) -> sampler.Denoise:
    text = network.encode_text(model, params, canvas)
    variance = jnp.asarray(model.token_variance, jnp.float32)

    def denoise(xt, sigma):
        level = jnp.take_along_axis(sigma, canvas.frame, axis=1)[..., None]
        scales = precondition.precondition(level, variance, prediction)
        raw = network.apply_dit(model, params, scales.c_in * xt, sigma, canvas, text)
        return scales.c_skip * xt + scales.c_out * raw

    return denoise


def _draw_noise(rows: Rows, length: int, channels: int) -> Float[Array, "B L P"]:
    """Noise of each token from the seed and the chunk's number alone."""
    per_chunk = (length // rows.chunks.shape[0], channels)

    def draw(seed, chunk):
        return jax.random.normal(jax.random.fold_in(jax.random.key(seed), chunk), per_chunk)

    noise = jax.vmap(jax.vmap(draw, in_axes=(None, 0)), in_axes=(0, None))(rows.seeds, rows.chunks)
    return noise.reshape(-1, length, channels)


def _turns(steps: int, num_chunks: int) -> NDArray[np.int32]:
    """Every place of the window comes to its end about as often, neighbouring steps far apart."""
    golden = (np.arange(steps) * 0.6180339887) % 1
    return (golden * num_chunks).astype(np.int32)
