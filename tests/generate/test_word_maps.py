"""If these fail, a map shows where a word does not act, or hides where it does."""

import jax
import numpy as np
import pytest

from sora_jax.errors import UsageError
from sora_jax.export.bundle import open_model
from sora_jax.generate import t2v
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Caption, Request, make_request
from sora_jax.generate.word_maps import shade, word_maps
from tests.tiny_model import write_tiny


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(open_model(write_tiny(tmp_path_factory.mktemp("tiny") / "model")))


def maps_of(engine, text):
    request, settings = make_request(text, seed=3), engine.bundle.sampling
    return word_maps(engine, request, settings, engine.sample([request], settings))


def test_to_a_model_that_does_not_hear_all_words_are_one(engine):
    """Each takes its share of the softmax, and none more than another."""
    words, maps = maps_of(engine, "a red circle")
    assert words == ["a", "red", "circle"] and np.ptp(maps, axis=0).max() > 0.1 * maps.max()
    params = engine.params["dit"]
    deaf = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 0 if "text" in jax.tree_util.keystr(path) else leaf, params
    )
    engine.params["dit"] = deaf
    try:
        maps = maps_of(engine, "a red circle")[1]
        assert np.ptp(maps, axis=0).max() < 1e-5
    finally:
        engine.params["dit"] = params


def test_a_word_of_many_tokens_is_taken_out_as_a_whole(engine):
    """What is left of it would act; the words around it are as they were."""
    words, maps = maps_of(engine, "red ox circle")  # spelled in bytes: 3 tokens
    assert words == ["red", "ox", "circle"] and maps.shape[0] == 3


def test_several_captions_are_refused(engine):
    request = Request(captions=(Caption(text="a"), Caption(text="red", start=1.0)))
    settings = engine.bundle.sampling
    with pytest.raises(UsageError, match="2 captions"):
        word_maps(engine, request, settings, engine.sample([request], settings))


def test_the_colour_acts_on_the_object_and_the_background_on_the_rest():
    """Of the model that comes with the package, which was trained."""
    engine = Engine(open_model("toyworld"))
    request = make_request("a red circle stays still on a white background", seed=1)
    settings = engine.bundle.sampling
    latents = engine.sample([request], settings)
    video = t2v.generate(engine, [request], settings)[0].astype(int)
    words, maps = word_maps(engine, request, settings, latents)
    is_red = (video[..., 0] - video[..., 1] > 60).reshape(4, 4, 4, 8, 4, 8).mean((1, 3, 5))
    inside, outside = is_red > 0.3, is_red == 0
    of = dict(zip(words, maps, strict=True))

    def ratio(word):
        return of[word][inside].mean() / of[word][outside].mean()

    assert ratio("red") > 2 * ratio("white")
    assert of["red"][inside].mean() > 2 * of["a"][inside].mean()


def test_shade_is_grey_where_nothing_acts_and_red_where_all_does():
    video = np.full((8, 16, 16, 3), 200, np.uint8)
    share = np.zeros((2, 2, 2))
    share[0, 0, 1] = 1
    made = shade(video, share)
    assert made.shape == video.shape and (made[4:] == 100).all() and (made[:4, 8:] == 100).all()
    assert (made[:4, :8, 8:, 0].astype(int) > made[:4, :8, 8:, 2] + 80).all()
