"""If these fail, an editing tool changes what it should keep, or is a pipeline of its own."""

import dataclasses

import numpy as np
import pytest

from sora_jax.errors import LimitError, UsageError
from sora_jax.export.bundle import open_model
from sora_jax.generate import blend, gap, loop, recut, remix, storyboard, t2v, takes, windows
from sora_jax.generate import engine as engine_module
from sora_jax.generate.curve import parse_curve
from sora_jax.generate.engine import Engine
from sora_jax.generate.request import Caption, Request, make_request
from sora_jax.generate.storyboard import Card
from tests.tiny_model import write_tiny


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(open_model(write_tiny(tmp_path_factory.mktemp("model") / "tiny")))


@pytest.fixture(scope="module")
def settings(engine):
    return engine.bundle.sampling


@pytest.fixture(scope="module")
def requests():
    return [make_request("a red circle moves left", seed=5)]


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (1, 16, 16, 16, 3), np.uint8)


def distance(a, b):
    return float(np.abs(a.astype(float) - b).mean())


def test_remix_goes_from_the_clip_to_a_clip_of_the_prompt_alone(engine, settings, requests, clip):
    """Strength 0 is the autoencoder's reconstruction and 1 is text to video, by one program."""
    results = {}
    before = None
    for strength in (0.0, 0.3, 0.7, 1.0):
        results[strength] = remix.remix(engine, clip, requests, settings, strength=strength)
        before = before or engine_module.sample_rows._cache_size()
    assert engine_module.sample_rows._cache_size() == before
    own = engine.decode(engine.encode(clip))
    np.testing.assert_array_equal(results[0.0], own)
    np.testing.assert_array_equal(results[1.0], t2v.generate(engine, requests, settings))
    distances = [distance(results[s], own) for s in sorted(results)]
    assert distances == sorted(distances) and distances[1] > 0


def test_a_masked_remix_keeps_the_latents_outside(engine, settings, requests, clip):
    keep = np.zeros((16, 16), bool)
    keep[:, :8] = True
    kept = remix.keep_latents(keep, engine, settings)
    assert kept.shape == (4, 2, 2) and kept[:, :, 0].all() and not kept[:, :, 1].any()
    keep[3, 3] = False  # one pixel that may change frees the latent it lies in
    assert not remix.keep_latents(keep, engine, settings)[:, 0, 0].any()
    made = remix.remix(engine, clip, requests, settings, strength=1.0, keep=keep)
    np.testing.assert_array_equal(made[:, :, keep], clip[:, :, keep])
    assert distance(made[:, :, ~keep], clip[:, :, ~keep]) > 1
    with pytest.raises(UsageError, match="mask is 8x16 and the clip 16x16"):
        remix.keep_latents(np.ones((16, 8), bool), engine, settings)


@pytest.mark.parametrize("num_new", [1, 2, 3, 5])
def test_a_bridge_keeps_both_sides_and_sees_both(engine, settings, requests, num_new):
    left, right = np.random.default_rng(1).normal(size=(2, 1, 3, 2, 2, 4)).astype(np.float32)

    def joined(left, right):
        return windows.bridge(engine, left, right, requests, settings, num_new=num_new)

    whole = joined(left, right)
    assert whole.shape[1] == 6 + num_new
    np.testing.assert_array_equal(whole[:, :3], left)
    np.testing.assert_array_equal(whole[:, -3:], right)
    last_new = -4
    for changed in (joined(left + 1, right), joined(left, right + 1)):
        assert np.abs(changed[:, last_new] - whole[:, last_new]).max() > 1e-3


def test_a_clip_is_completed_around_what_is_known(engine, settings, requests):
    """Longer than the window, with gaps inside and at both ends."""
    latents = np.random.default_rng(2).normal(size=(1, 9, 2, 2, 4)).astype(np.float32)
    known = np.isin(np.arange(9), [2, 3, 6])
    result = windows.complete(engine, latents, known, requests, settings)
    assert result.shape == latents.shape
    np.testing.assert_array_equal(result[:, known], latents[:, known])
    assert np.abs(result[:, ~known] - latents[:, ~known]).min(axis=(0, 2, 3, 4)).max() > 0
    nothing = windows.complete(engine, latents, known & False, requests, settings)
    np.testing.assert_array_equal(nothing[:, :4], engine.sample(requests, settings))


def test_a_window_sees_the_captions_of_its_own_time():
    whole = Request(
        captions=(Caption(text="first", end=2.0), Caption(text="second", start=2.0)), seed=1
    )
    assert whole.seen_from(0, 2).captions == (Caption(text="first", end=2.0),)
    later = whole.seen_from(1, 3)
    assert later.captions == (Caption(text="first", end=1.0), Caption(text="second", start=1.0))
    assert whole.seen_from(-2, 0).captions == (Caption(text="first", end=4.0),)
    over = Request(captions=(Caption(text="only", end=1.0),)).seen_from(2, 4)
    assert [caption.text for caption in over.captions] == ["only"]
    assert over.captions[0].start == 0


def test_a_loop_has_no_place_that_is_its_end(engine, settings, requests):
    """The last chunk is decoded before the first, and the window is turned while sampling."""
    latents = np.random.default_rng(3).normal(size=(1, 4, 2, 2, 4)).astype(np.float32)
    video = engine.decode(latents, is_loop=True)
    turned = engine.decode(np.roll(latents, 1, axis=1), is_loop=True)
    np.testing.assert_allclose(np.roll(video, 4, axis=1).astype(int), turned, atol=1)
    assert distance(loop.from_prompt(engine, requests, settings), video) > 0
    flat = engine.sample(requests, settings)
    assert np.abs(engine.sample(requests, settings, is_loop=True) - flat).max() > 1e-3


def test_a_loop_begins_where_the_least_changes_and_is_the_same_round():
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, (2, 8, 4, 4, 3), np.uint8)
    videos[0, 3], videos[1, 0] = videos[0, 2] ^ 1, videos[1, 7] ^ 1
    turned = loop.begin_at_rest(videos)
    for video, found, start in zip(videos, turned, (3, 0), strict=True):
        np.testing.assert_array_equal(found, np.roll(video, -start, axis=0))


def test_a_closed_clip_keeps_its_frames_and_adds_as_many_as_asked(engine, settings, requests, clip):
    video = loop.close(engine, clip[:, :8], requests, settings, num_new=8)
    assert video.shape[1] == 16
    np.testing.assert_array_equal(video[:, :8], clip[:, :8])


def test_recut_gives_kept_frames_as_they_were_in_their_new_order(engine, settings, requests, clip):
    parts = [clip[:, 12:], clip[:, :8]]
    plain = recut.recut(engine, parts, requests, settings, num_fill=0)
    np.testing.assert_array_equal(plain, np.concatenate(parts, axis=1))
    filled = recut.recut(engine, parts, requests, settings, num_fill=4)
    assert filled.shape[1] == 16
    np.testing.assert_array_equal(filled[:, :4], parts[0])
    np.testing.assert_array_equal(filled[:, 8:], parts[1])


def test_a_transition_joins_whole_clips(engine, settings, requests, clip):
    parts = clip[:, :8], clip[:, 8:]
    curve = parse_curve("ease")
    video = blend.transition(engine, *parts, requests, settings, num_new=8, curve=curve)
    assert video.shape[1] == 24
    np.testing.assert_array_equal(video[:, :8], parts[0])
    np.testing.assert_array_equal(video[:, -8:], parts[1])


def test_a_mix_is_each_clip_where_the_curve_says_so(engine, settings, requests, clip):
    other = clip[:, ::-1].copy()
    curve = parse_curve("0:0,0.4:0,0.6:1,1:1")
    video = blend.mix(engine, clip, other, requests, settings, curve=curve)
    for frames, source in ((slice(0, 4), clip), (slice(12, 16), other)):
        own = engine.encode(source)[:, frames.start // 4]
        again = engine.encode(source)
        assert np.abs(own - again[:, frames.start // 4]).max() == 0
    start = engine.decode(engine.encode(clip))[:, :4]
    np.testing.assert_allclose(video[:, :4].astype(int), start, atol=1)
    with pytest.raises(LimitError, match="B has 8 frames"):
        blend.mix(engine, clip, other[:, :8], requests, settings, curve=curve)


def test_curves_start_at_a_and_end_at_b():
    for text in ("linear", "ease", "0:0,0.5:0.8,1:1"):
        curve = parse_curve(text)
        assert curve(0) == 0 and curve(1) == 1
        values = [curve(x) for x in np.linspace(0, 1, 21)]
        assert values == sorted(values)
    assert parse_curve("0:0,0.5:0.8,1:1")(0.5) == pytest.approx(0.8)


def test_a_transition_is_as_far_as_its_curve_says():
    """Whatever the frames do between A and B, their change is spread as the curve wants it."""
    level = np.array([0, 2, 4, 90, 92, 200], np.uint8)
    frames = np.broadcast_to(level[:, None, None, None], (6, 8, 8, 3))
    even = blend.follow(frames, parse_curve("linear"), 4)
    np.testing.assert_allclose(np.interp(even, np.arange(6), level), [40, 80, 120, 160], atol=0.1)
    slow = blend.follow(frames, parse_curve("linear"), 9)
    np.testing.assert_allclose(
        np.interp(slow, np.arange(6), level), 20 * np.arange(1, 10), atol=0.1
    )
    early = blend.follow(frames, parse_curve("0:0,0.2:1,1:1"), 4)
    np.testing.assert_allclose(early, 5, atol=1e-6)


def test_a_transition_longer_than_a_window_is_a_slower_one(engine, settings, clip):
    """It shows what the short one shows, and none of its steps is larger than the short one's."""
    requests = [make_request("a red circle")]
    parts = clip[:1, :8], clip[:1, 8:]
    curve = parse_curve("linear")
    short, long = (
        blend.transition(engine, *parts, requests, settings, num_new=n, curve=curve)[0].astype(int)
        for n in (8, 40)
    )
    assert len(long) == 8 + 40 + 8
    steps = [np.abs(np.diff(video[7:-7], axis=0)).mean((1, 2, 3)).max() for video in (short, long)]
    assert steps[1] < 0.6 * steps[0]


@pytest.mark.parametrize("text", ["", "fast", "0:0", "0:0,1:2", "0.1:0,1:1", "0:0,0:1,1:1"])
def test_a_curve_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="curve"):
        parse_curve(text)


@pytest.mark.parametrize("text", ["very", "1.5", "-0.1", "nan"])
def test_a_strength_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="subtle, mild, strong"):
        remix.parse_strength(text)


def test_of_several_takes_the_smoothest_is_kept(engine, settings, requests, monkeypatch):
    """The first take is what the seed gives by itself; each clip has its own best one."""
    cost = np.array([3.0, 1.0, 2.0, 5.0, 2.5, 0.0, 9.0, 8.0])
    made = np.arange(8, dtype=np.uint8)[:, None, None, None, None]
    assert takes.best(made, cost).ravel().tolist() == [2, 5]
    seeds = [request.seed for request in takes.of_each(requests)]
    assert seeds[0] == requests[0].seed and len(set(seeds)) == takes.TAKES
    left = right = np.full((1, 8, 16, 16, 3), 128, np.uint8)  # no detail that joins all takes
    monkeypatch.setattr(gap, "hold_still", lambda made, around, given: made)

    def largest_step(wanted):
        new = gap.fill(engine, left, right, wanted, settings, num_new=4)
        return takes.steps(np.concatenate([left[:, -1:], new, right[:, :1]], axis=1)).max()

    found, each = largest_step(requests), takes.of_each(requests)
    monkeypatch.setattr(takes, "TAKES", 1)
    alone = [largest_step([request]) for request in each]
    assert found == pytest.approx(min(alone), rel=1e-3)
    assert max(alone) > 1.01 * min(alone)


def test_what_lies_further_back_than_a_window_does_not_matter(
    engine, settings, requests, clip, monkeypatch
):
    monkeypatch.setattr(gap, "hold_still", lambda made, around, given: made)
    long = np.concatenate([255 - clip, clip[:, ::-1], clip], axis=1)
    far = gap.fill(engine, long, clip, requests, settings, num_new=4, first_frame=8)
    near = gap.fill(engine, clip, clip, requests, settings, num_new=4, first_frame=40)
    np.testing.assert_array_equal(far, near)
    other = gap.fill(engine, 255 - clip, clip, requests, settings, num_new=4, first_frame=40)
    assert distance(other, near) > 0


@pytest.mark.parametrize(("count", "start"), [(3, 1), (4, 2), (9, 1), (9, 7)])
def test_redone_chunks_begin_from_what_there_was(engine, settings, requests, count, start):
    """What is known stays, at strength 0 all does; what is before its window is left alone."""
    latents = np.random.default_rng(4).normal(size=(1, count, 2, 2, 4)).astype(np.float32)
    known = np.arange(count) == count - 1

    def redone(strength):
        return windows.redo(
            engine, latents, known, requests, settings, start=start, strength=strength
        )

    np.testing.assert_array_equal(redone(0.0), latents)
    little, much = redone(0.3), redone(0.9)
    number = np.arange(count)
    new = ~known & (number >= start)
    stays = (known & (number >= start)) | (number < min(start - 1, count - 4))
    for made in (little, much):
        np.testing.assert_array_equal(made[:, stays], latents[:, stays])
        assert (np.abs(made - latents).max((0, 2, 3, 4))[new] > 0).all()
    assert distance(little, latents) < distance(much, latents)


def test_a_card_changes_what_comes_after_it_alone(engine, settings):
    """Up to the second card the video is the first card's, whatever the second says."""
    first = Card(time=0.0, prompt="a red circle")
    alone, *others = (
        storyboard.render(engine, [first, *rest], settings, num_frames=16, seed=3)
        for rest in (
            [],
            [Card(time=1.0, prompt="a blue square")],
            [Card(time=1.0, prompt="a green circle moves left")],
        )
    )
    for other in others:
        np.testing.assert_array_equal(other[:, :8], alone[:, :8])
    assert distance(others[0][:, 8:], others[1][:, 8:]) > 0


def test_a_storyboard_is_its_cards(engine, settings, clip):
    """A shot after a cut is what it would be alone; given frames are where the card says."""
    cards = [
        Card(time=0.0, prompt="a red circle"),
        Card(time=1.0, frames=clip[0, :4]),
        Card(time=2.0, prompt="a blue square", is_cut=True),
    ]
    video = storyboard.render(engine, cards, settings, num_frames=32, seed=3)
    assert video.shape[1] == 32
    shot = [make_request("a blue square", seed=5)]
    np.testing.assert_array_equal(video[:, 16:], t2v.generate(engine, shot, settings))
    assert storyboard.key_frames(cards, settings, 32) == [4, 12, 24]


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ([], "no card"),
        ([Card(time=0.3, prompt="a")], "card 1 is at 0.3 s; times are multiples of 0.5"),
        ([Card(time=4.0, prompt="a")], "ends at 2 s"),
        ([Card(time=0.5, prompt="a"), Card(time=0.5, prompt="b")], "not after card 1"),
        (
            [Card(time=1.5, frames=np.zeros((8, 16, 16, 3), np.uint8))],
            "lasts 1 s and there are 0.5",
        ),
    ],
)
def test_a_board_that_cannot_be_is_refused(settings, cards, message):
    with pytest.raises(UsageError, match=message):
        storyboard.check(cards, settings, num_frames=16)


def test_a_clip_longer_than_the_window_is_not_remixed(engine, settings, requests, clip):
    with pytest.raises(LimitError, match="20 frames and this model sees 16"):
        long = np.concatenate([clip, clip[:, :4]], axis=1)
        remix.remix(engine, long, requests, settings, strength=0.5)


def test_a_prompt_loop_and_a_clip_share_the_program(engine, settings, requests):
    engine.sample(requests, settings)
    before = engine_module.sample_rows._cache_size()
    engine.sample(requests, dataclasses.replace(settings, shift=1.5), is_loop=True)
    assert engine_module.sample_rows._cache_size() == before
