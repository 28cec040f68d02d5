"""If these fail, a sample depends on its neighbours, or the tools change what they should keep."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.export.bundle import open_model
from sora_jax.generate import engine as engine_module
from sora_jax.generate import extend, i2v, storyboard, t2v, windows
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Caption, Request, make_request, make_settings
from sora_jax.models import network
from tests.tiny_model import write_tiny

PROMPTS = ("a red circle moves left", "a blue square", "white on black")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(open_model(write_tiny(tmp_path_factory.mktemp("model") / "tiny")))


@pytest.fixture(scope="module")
def settings(engine):
    return engine.bundle.sampling


@pytest.fixture(scope="module")
def requests():
    return [make_request(prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 16, 16, 3), np.uint8)


def test_a_result_does_not_depend_on_its_batch(engine, settings, requests):
    together = engine.sample(requests, settings)
    alone = engine.sample(requests[1:2], settings)
    small = Engine(engine.bundle, max_batch=2).sample(requests, settings)
    # Products over another batch size may round differently; a sample is of size 1.
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)
    np.testing.assert_allclose(together, small, atol=1e-4)


def test_prompt_seed_and_negative_each_matter(engine, settings, requests):
    base = requests[0]
    others = [
        dataclasses.replace(base, seed=99),
        dataclasses.replace(base, captions=(Caption(text="a blue square"),)),
        dataclasses.replace(base, negative="red"),
        dataclasses.replace(base, captions=()),
        dataclasses.replace(base, captions=(Caption(text=PROMPTS[0], start=1.0),)),
    ]
    latents = engine.sample([base, base, *others], settings)
    np.testing.assert_array_equal(latents[0], latents[1])
    for other in latents[2:]:
        assert np.abs(other - latents[0]).max() > 1e-3


def test_cfg_scale_one_does_not_look_at_the_negative(engine, settings, requests):
    plain = dataclasses.replace(settings, cfg_scale=1.0)
    with_negative = [dataclasses.replace(request, negative="black") for request in requests]
    np.testing.assert_array_equal(
        engine.sample(requests, plain), engine.sample(with_negative, plain)
    )
    # Nor does it differ from guidance that never acts.
    outside = dataclasses.replace(settings, interval=(0.0, 1e-6))
    np.testing.assert_allclose(
        engine.sample(requests, plain), engine.sample(requests, outside), atol=1e-5
    )


def test_other_values_do_not_compile_again(engine, settings, requests):
    engine.sample(requests, settings)
    before = engine_module.sample_rows._cache_size()
    changed = dataclasses.replace(settings, cfg_scale=5.0, interval=(0.1, 0.9), shift=2.0)
    engine.sample(requests[::-1], changed, first_chunk=7)
    assert engine_module.sample_rows._cache_size() == before


def test_saving_and_loading_changes_no_sample(tmp_path, engine, settings, requests):
    full = Engine(open_model(write_tiny(tmp_path / "full", dtype="float32")))
    bundle = full.bundle
    parts = {name: getattr(bundle, name) for name in ("model", "params", "tokenizer", "sampling")}
    again = Engine(open_model(write_tiny(tmp_path / "again", dtype="float32", **parts)))
    np.testing.assert_array_equal(full.sample(requests, settings), again.sample(requests, settings))


def test_known_latents_come_out_exactly_as_given(engine, settings, requests, clip):
    latents = np.zeros((2, 4, 2, 2, 4), np.float32)
    latents[:, 1:3] = engine.encode(clip)
    known = np.zeros(latents.shape[:-1], bool)
    known[:, 1:3] = True
    result = engine.sample(requests[:2], settings, latents=latents, known=known)
    np.testing.assert_array_equal(result[:, 1:3], latents[:, 1:3])
    free = engine.sample(requests[:2], settings)
    assert np.abs(result[:, 0] - free[:, 0]).max() > 1e-3  # what is known is seen


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep"])
def test_every_solver_gives_pictures(engine, settings, requests, solver):
    video = t2v.generate(engine, requests[:1], dataclasses.replace(settings, solver=solver))
    assert video.shape == (1, 16, 16, 16, 3) and video.dtype == np.uint8
    assert video.std() > 1


def test_other_sizes_and_rates_are_data(engine, settings, requests):
    wide = make_settings(engine.model, settings, size=(8, 24), fps=12.0)
    assert t2v.generate(engine, requests[:1], wide).shape == (1, 16, 8, 24, 3)


def test_shorter_clips_are_beginnings_and_longer_ones_go_on(engine, settings, requests):
    window = t2v.generate(engine, requests, settings)
    short = t2v.generate(engine, requests, settings, num_frames=8)
    long = t2v.generate(engine, requests, settings, num_frames=28)
    np.testing.assert_array_equal(short, window[:, :8])
    assert long.shape[1] == 28
    latents = engine.sample(requests, settings)
    grown = windows.to_length(engine, latents, requests, settings, 28)
    np.testing.assert_array_equal(grown[:, :4], latents)
    # Seven chunks decoded at once may round otherwise than four: on some machines one pixel does.
    np.testing.assert_allclose(long[:, :16].astype(int), window.astype(int), atol=1)


def test_an_animation_begins_with_its_image(engine, settings, requests, clip):
    """Held for a chunk, to the pixel."""
    images = clip[:, 0]
    video = i2v.animate(engine, images[:, None], requests[:2], settings)
    assert video.shape == (2, 16, 16, 16, 3)
    np.testing.assert_array_equal(video[:, :4], np.repeat(images[:, None], 4, axis=1))


@pytest.mark.parametrize("num_frames", [16, 28])
def test_pictures_in_between_are_those_of_a_board(engine, settings, requests, clip, num_frames):
    """A picture at a time is one thing, by whichever tool it is given."""
    images = clip[:1, [0, 5]]
    video = i2v.animate(
        engine, images, requests[1:2], settings, chunks=(1, 3), num_frames=num_frames
    )
    chunk = 4 / settings.fps
    cards = [
        storyboard.Card(time=0.0, prompt=PROMPTS[1]),
        storyboard.Card(time=chunk, frames=np.repeat(images[0, :1], 4, axis=0)),
        storyboard.Card(time=3 * chunk, frames=np.repeat(images[0, 1:], 4, axis=0)),
    ]
    board = storyboard.render(engine, cards, settings, num_frames=num_frames, seed=1)
    np.testing.assert_array_equal(video, board)
    swapped = i2v.animate(
        engine, images, requests[1:2], settings, chunks=(3, 1), num_frames=num_frames
    )
    assert (video != swapped).any()


def test_extending_forward_keeps_the_frames_before(engine, settings, requests, clip):
    video = extend.extend(engine, clip, requests[:2], settings, num_new=12)
    assert video.shape[1] == 20
    np.testing.assert_array_equal(video[:, :8], clip)


def test_extending_backward_keeps_the_frames_after(engine, settings, requests, clip):
    video = extend.extend(engine, clip, requests[:2], settings, num_new=12, direction="backward")
    assert video.shape[1] == 20
    np.testing.assert_array_equal(video[:, -8:], clip)


def test_both_ends_grow_alike_and_the_ends_are_those_of_each_direction(
    engine, settings, requests, clip
):
    both = extend.extend(engine, clip, requests[:2], settings, num_new=4, direction="both")
    forward = extend.extend(engine, clip, requests[:2], settings, num_new=4)
    assert both.shape[1] == 16
    np.testing.assert_array_equal(both[:, 4:12], clip)
    np.testing.assert_allclose(both[:, -8:].astype(int), forward[:, -8:].astype(int), atol=1)


def test_a_long_extension_slides_and_does_not_repeat_itself(engine, settings, requests, clip):
    long = extend.extend(engine, clip, requests[:2], settings, num_new=24)
    assert long.shape[1] == 32
    chunks = long.reshape(2, 8, -1).astype(int)
    distances = [np.abs(chunks[:, i] - chunks[:, j]).mean() for i in range(8) for j in range(i)]
    assert min(distances) > 1


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_context_is_the_end_that_goes_on(engine, settings, requests, direction):
    """Half a window of known chunks is seen: the nearest ones, and none further away."""
    latents = np.random.default_rng(0).normal(size=(2, 4, 2, 2, 4)).astype(np.float32)
    nearest = -1 if direction == "forward" else 0

    def new_chunks(latents):
        arguments = dict(num_new=2, is_forward=direction == "forward")
        grown = windows.grow(engine, latents, requests[:2], settings, **arguments)
        return grown[:, 4:] if direction == "forward" else grown[:, :2]

    near, far = latents.copy(), latents.copy()
    near[:, nearest] += 1
    far[:, -1 - nearest] += 1
    np.testing.assert_array_equal(new_chunks(far), new_chunks(latents))
    assert np.abs(new_chunks(near) - new_chunks(latents)).max() > 1e-3


@pytest.mark.parametrize(("is_forward", "place", "taken"), [(True, 0, 1), (False, 3, 2)])
def test_of_a_window_with_room_to_spare_the_nearest_chunk_is_taken(
    engine, settings, requests, is_forward, place, taken
):
    one = np.random.default_rng(0).normal(size=(1, 1, 2, 2, 4)).astype(np.float32)
    latents, known = np.zeros((1, 4, 2, 2, 4), np.float32), np.zeros((1, 4, 2, 2), bool)
    latents[:, place], known[:, place] = one[:, 0], True
    window = engine.sample(requests[:1], settings, latents=latents, known=known, first_chunk=-place)
    grown = windows.grow(engine, one, requests[:1], settings, num_new=1, is_forward=is_forward)
    np.testing.assert_array_equal(grown[:, 1 if is_forward else 0], window[:, taken])


def test_bytes_are_pixels_from_minus_one_to_one_both_ways(engine, clip):
    vae = engine.params["vae"]
    latents = network.vae_encode(engine.model, vae, jnp.array(clip / 127.5 - 1, jnp.float32))
    np.testing.assert_allclose(engine.encode(clip), latents, atol=1e-4)
    video = np.asarray(network.vae_decode(engine.model, vae, latents))
    wanted = np.clip(np.round((video + 1) * 127.5), 0, 255)
    assert 0.02 < ((wanted == 0) | (wanted == 255)).mean() < 0.9  # both clipped and not
    np.testing.assert_allclose(engine.decode(np.asarray(latents)), wanted, atol=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_new=6), "extension has 6 frames"),
        (dict(num_new=0), "extension has 0 frames"),
        (dict(direction="up"), "'up' is not one of forward"),
        (dict(context=4), "context 4 chunks must be in 1..3"),
    ],
)
def test_impossible_extensions_are_refused(engine, settings, requests, clip, changes, message):
    arguments = {"num_new": 4} | changes
    with pytest.raises(UsageError, match=message):
        extend.extend(engine, clip, requests[:2], settings, **arguments)


def test_prompts_that_do_not_fit_are_reported_not_cut(engine, settings):
    with pytest.raises(UsageError, match="15 tokens.*takes 12"):
        engine.sample([make_request("a red circle " * 5)], settings)
    with pytest.raises(UsageError, match="empty"):
        engine.sample([make_request("  ")], settings)
    captions = tuple(Caption(text="a red circle on white") for _ in range(3))
    with pytest.raises(UsageError, match="15 tokens together"):
        engine.sample([Request(captions=captions)], settings)
