"""Streaming equals the whole video. If this fails, long videos show seams or fill the memory."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.models import network
from sora_jax.models.vae import stream, tiling
from sora_jax.models.vae.vae import TEMPORAL, VAE
from tests.tiny_model import tiny_parts

HEIGHT, WIDTH, CHUNKS = 16, 24, 32
SPLITS = [
    (1,),  # 4 frames
    (2, 1),
    (1,) * CHUNKS,
    (CHUNKS,),  # 128 frames
    (5, 1, 1, 16, 5, 4),
    (1, CHUNKS - 1),
]


@pytest.fixture(scope="module")
def tiny():
    parts = tiny_parts()
    return parts["model"].vae, jax.tree.map(jnp.asarray, parts["params"]["vae"])


@pytest.fixture(scope="module")
def video():
    shape = (2, TEMPORAL * CHUNKS, HEIGHT, WIDTH, 3)
    return jax.random.uniform(jax.random.key(1), shape, minval=-1, maxval=1)


@pytest.fixture(scope="module")
def whole(tiny, video):
    """(latents, reconstruction) of the whole video in one pass."""
    cfg, params = tiny
    vae = network.module(VAE, cfg, params)
    latents = jax.jit(vae.encoder)(video)
    return latents, jax.jit(vae.decoder)(latents)


def pieces(x, split, unit):
    """Cut along the second dim into pieces of so many units."""
    ends = unit * np.cumsum(split)
    return [x[:, end - unit * n : end] for n, end in zip(split, ends, strict=True)]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_streaming_equals_the_whole(tiny, video, whole, split):
    """4 to 128 frames in any pieces, both ways, to 1e-5."""
    latents, reconstruction = whole
    encoded = list(stream.encode_stream(*tiny, pieces(video, split, TEMPORAL)))
    assert [part.shape[1] for part in encoded] == list(split)
    found = np.concatenate(encoded, 1)
    np.testing.assert_allclose(found, latents[:, : sum(split)], atol=1e-5)
    decoded = list(stream.decode_stream(*tiny, pieces(latents, split, 1)))
    assert [part.shape[1] for part in decoded] == [TEMPORAL * n for n in split]
    found = np.concatenate(decoded, 1)
    np.testing.assert_allclose(found, reconstruction[:, : TEMPORAL * sum(split)], atol=1e-5)


def test_decoding_goes_on_where_encoding_stopped(tiny, video, whole):
    """The cache of an encoder is that of the decoder: known frames lead into generated ones."""
    cfg, params = tiny
    latents, reconstruction = whole
    cache = stream.init_cache(cfg, 2, HEIGHT, WIDTH)
    _, cache = stream.encode_chunks(cfg, params, cache, video[:, : 5 * TEMPORAL])
    found, _ = stream.decode_chunks(cfg, params, cache, latents[:, 5:7])
    np.testing.assert_allclose(found, reconstruction[:, 20:28], atol=1e-5)


def test_no_chunk_depends_on_later_ones(tiny, video):
    """Gradients of each output chunk with respect to each input chunk, across a stream's pieces.

    Encoding: of its own frames alone. Decoding: of its own latents and those of the chunk before.
    """
    cfg, params = tiny
    start = stream.init_cache(cfg, 2, HEIGHT, WIDTH)
    clip = video[:, : 4 * TEMPORAL]

    def run(step, x, split, unit):
        cache, found = start, []
        for piece in pieces(x, split, unit):
            out, cache = step(cfg, params, cache, piece)
            found.append(out)
        return jnp.concatenate(found, 1)

    def reach(step, x, unit_in, unit_out):
        """[i, j]: the largest gradient of output chunk i with respect to input chunk j."""
        rows = []
        for i in range(4):
            part = slice(i * unit_out, (i + 1) * unit_out)
            slope = jax.grad(lambda x, p=part: run(step, x, (1, 2, 1), unit_in)[:, p].sum())(x)
            slope = slope.reshape(2, 4, -1)
            rows.append(np.abs(slope).max((0, 2)))
        return np.array(rows) > 0

    own, before = np.eye(4, dtype=bool), np.eye(4, k=-1, dtype=bool)
    np.testing.assert_array_equal(reach(stream.encode_chunks, clip, TEMPORAL, 1), own)
    latents = run(stream.encode_chunks, clip, (4,), TEMPORAL)
    np.testing.assert_array_equal(reach(stream.decode_chunks, latents, 1, TEMPORAL), own | before)


def test_a_stream_compiles_once(tiny, video):
    """However long the video is, and again for the next one."""
    for step, run, x, unit in (
        (stream.encode_chunks, stream.encode_stream, video[:1], TEMPORAL),
        (stream.decode_chunks, stream.decode_stream, video[:1, ::4, ::8, ::8].repeat(2, -1), 1),
    ):
        x = x[..., : 3 if unit == TEMPORAL else 4]
        step.clear_cache()
        for count in (4, 6):
            assert len(list(run(*tiny, pieces(x, (2,) * count, unit)))) == count
        assert step._cache_size() == 1


def test_an_image_equals_a_static_chunk(tiny, video):
    """A held image has the image's latents in each chunk, and begins with the image's frames."""
    cfg, params = tiny
    vae = network.module(VAE, cfg, params)
    image = jnp.repeat(video[:, :1], TEMPORAL, 1)
    alone, held = vae.encoder(image), vae.encoder(jnp.tile(image, (1, 3, 1, 1, 1)))
    for i in range(3):
        np.testing.assert_allclose(held[:, i], alone[:, 0], atol=1e-5)
    np.testing.assert_allclose(vae.decoder(held)[:, :4], vae.decoder(alone), atol=1e-5)
    moving = vae.encoder(jnp.flip(video[:, :4], 1)) - vae.encoder(video[:, :4])
    assert np.abs(moving).max() > 0.01  # so it is the frames that make them equal


def test_a_stream_of_tiles_is_the_tiled_whole(tiny, video, whole):
    """Length and size together: tiles see the chunk before across pieces."""
    how = dict(tile=16, overlap=0.5)
    latents = whole[0][:, :4]
    expected = tiling.decode_tiled(*tiny, latents, **how)
    found = np.concatenate(list(stream.decode_stream(*tiny, pieces(latents, (1, 3), 1), **how)), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    clip = video[:, :16]
    expected = tiling.encode_tiled(*tiny, clip, **how)
    found = np.concatenate(list(stream.encode_stream(*tiny, pieces(clip, (1, 3), 4), **how)), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pictures_that_are_not_whole_latents_name_the_unit(tiny):
    with pytest.raises(ValueError, match="17 x 24 pixels .* multiples of 8"):
        stream.init_cache(tiny[0], 1, 17, 24)


PEAK = """
import resource, sys
import numpy as np
import jax
from sora_jax.models import network
from sora_jax.models.vae import stream, tiling
from sora_jax.models.vae.vae import VAE, VAEConfig

cfg = VAEConfig(channels=16, patch=4, widths=(64, 96), blocks=1)
params = network.init(VAE, cfg, jax.random.key(0))
piece = np.zeros((1, 1, 32, 32, 16), np.float32)
frames = 0
for video in stream.decode_stream(cfg, params, (piece for _ in range(int(sys.argv[1])))):
    frames += video.shape[1]
assert frames == 4 * int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length():
    """The peak of a process that decodes 64 chunks of 256x256 is at most 1.3 times that of 4."""
    # Without the tests' 64 threads, each of which keeps freed memory of its own.
    env = {name: x for name, x in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}

    def peak(chunks):
        command = [sys.executable, "-c", PEAK, str(chunks)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        return int(done.stdout)

    assert peak(64) <= 1.3 * peak(4)
