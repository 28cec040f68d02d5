"""Latents and text states of records, computed ahead: as the model itself would make them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax import media
from sora_jax.data import records
from sora_jax.data.geometry import hold_first
from sora_jax.data.schema import Caption
from sora_jax.errors import UsageError
from sora_jax.export.bundle import open_model
from sora_jax.generate.canvas import build_canvas
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import latent_grid
from sora_jax.models import network
from sora_jax.precompute import latents
from sora_jax.precompute.latents import LatentEncoder, encode_latents
from sora_jax.precompute.text import SmallText, embed_text
from sora_jax.sharding import mesh as meshes
from tests.tiny_model import write_tiny


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_model(write_tiny(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def encoder(bundle):
    mesh = meshes.make_mesh(meshes.MeshConfig())
    assert mesh.size == 8
    return LatentEncoder(bundle.model, bundle.params["vae"], mesh, batch_size=8)


def test_latents_over_eight_devices_are_those_of_one(bundle, encoder, make_record, monkeypatch):
    """Of clips of four shapes among each other, in their order, with nothing else changed.

    Chunks of several clips fill a batch, and clips are sorted in windows of several batches.
    """
    monkeypatch.setattr(latents, "_WINDOW_BATCHES", 1)
    made = [make_record(i, num_frames=4 + 4 * (i % 2), size=32 + 8 * (i % 3)) for i in range(17)]
    found = list(encode_latents(made, encoder))
    assert [record.id for record in found] == [record.id for record in made]
    engine = Engine(bundle)
    for before, after in zip(made, found, strict=True):
        (alone,) = engine.encode(records.decode(before)[None])
        assert after.latents.dtype == np.float16 and after.video is None
        np.testing.assert_allclose(after.latents, alone, atol=2e-2)
        assert after.shape == before.shape and after.captions == before.captions


def test_held_latents_stand_behind_those_of_the_clip(encoder, make_record):
    shades = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, (8, 32, 32, 3))
    moving = dataclasses.replace(make_record(0), video=media.encode_mp4(shades, 8.0))
    (record,) = encode_latents([moving], encoder, with_held=True)
    video = records.decode(moving)
    plain, held = encoder([video, hold_first(video)])
    assert not np.array_equal(plain, held)
    assert np.array_equal(record.latents, np.concatenate([plain, held]))


def test_clips_are_cut_to_whole_latents_and_stills_fill_a_chunk(encoder, make_record):
    """36x36 and 7 frames become 32x32 and 4; three frames are too few and that is said."""
    stills, odd, short = (make_record(i, num_frames=n, size=36) for i, n in enumerate((1, 7, 3)))
    told = []
    found = list(encode_latents([stills, odd, short], encoder, report=told.append))
    assert [record.shape for record in found] == [(1, 32, 32), (4, 32, 32)]
    assert [record.latents.shape[0] for record in found] == [1, 1]
    assert len(told) == 1 and "clip2: 3 frames of 36x36" in told[0]
    inside = records.decode(odd)[:4, 2:-2, 2:-2]
    assert np.array_equal(found[1].latents, encoder([inside])[0])


def test_a_record_of_latents_is_refused(bundle, encoder, make_record):
    (done,) = encode_latents([make_record(0)], encoder)
    with pytest.raises(UsageError, match="holds latents only"):
        list(encode_latents([done], encoder))
    with pytest.raises(UsageError, match="batch of 12 chunks does not divide over 8"):
        LatentEncoder(bundle.model, {}, meshes.make_mesh(meshes.MeshConfig()), batch_size=12)


def captioned(record, *texts):
    captions = tuple(Caption(text, 0.0, 1.0) for text in texts)
    return dataclasses.replace(record, captions=captions)


def test_text_states_are_those_that_the_transformer_sees(bundle, make_record):
    """A caption's states do not depend on what is encoded beside it."""
    encoder = SmallText(
        bundle.model, bundle.params["dit"], bundle.tokenizer, bundle.digest, batch_size=3
    )
    texts = ["a red circle", "a blue square moves left", "red", "a white background"]
    made = [captioned(make_record(i), *texts[i : i + 2]) for i in range(3)]
    found = list(embed_text(made, encoder, batch_size=2))
    assert [record.id for record in found] == ["clip0", "clip1", "clip2"]
    for record in found:
        assert record.text.encoder == f"small:{bundle.digest[:16]}"
        for caption, states in zip(record.captions, record.text.states, strict=True):
            wanted = _states_in_a_row(bundle, caption.text)
            assert len(states) == len(bundle.tokenizer.encode(caption.text))
            np.testing.assert_allclose(states, wanted, atol=2e-2)


def _states_in_a_row(bundle, text):
    """The network's own way, with the caption behind another one in a row."""
    before, mine = bundle.tokenizer.encode("a blue circle"), bundle.tokenizer.encode(text)
    ids = np.array([before + mine], np.int32)
    segment = np.array([[0] * len(before) + [1] * len(mine)], np.int32)
    span = np.broadcast_to(np.array([0.0, 1.0], np.float32), (*ids.shape, 2))
    known = np.zeros((1, *latent_grid(bundle.model, bundle.sampling)), bool)
    latents = np.zeros((*known.shape, 4), np.float32)
    row = build_canvas(bundle.model, bundle.sampling, (ids, span), latents, known)
    row = row.replace(text_segment=jnp.asarray(segment))
    states = network.encode_text(bundle.model, jax.device_put(bundle.params["dit"]), row)
    return np.asarray(states)[0, len(before) :]


def test_a_caption_that_is_too_long_names_its_record(bundle, make_record):
    encoder = SmallText(bundle.model, bundle.params["dit"], bundle.tokenizer, bundle.digest)
    made = [captioned(make_record(0), "a red circle"), captioned(make_record(1), "a " * 13)]
    with pytest.raises(UsageError, match="caption of record 'clip1': .* 13 tokens"):
        list(embed_text(made, encoder))
