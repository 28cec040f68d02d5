"""What was given stays to the bit, and its detail joins what is beside it and nothing further."""

import numpy as np

from sora_jax.generate import kept

RNG = np.random.default_rng(0)
GIVEN = RNG.integers(60, 200, (1, 8, 24, 24, 3), np.uint8)


def made_around(before: int, after: int) -> np.ndarray:
    """A still picture all through, in place of everything."""
    return np.full((1, before + 8 + after, 24, 24, 3), 128, np.uint8)


def test_frames_are_kept_and_detail_fades_out_over_a_chunk():
    made = made_around(8, 8)
    out = kept.keep_frames(made, [(8, GIVEN)])
    np.testing.assert_array_equal(out[:, 8:16], GIVEN)
    np.testing.assert_array_equal(out[:, [0, 1, 2, 3, 20, 21, 22, 23]], 128)
    lost = GIVEN[:, -1].astype(float) - 128
    for away, frame in enumerate(range(16, 20), 1):
        np.testing.assert_allclose(out[:, frame] - 128.0, lost * (1 - away / 5), atol=0.51)
    for away, frame in enumerate(range(7, 3, -1), 1):
        lost = GIVEN[:, 0].astype(float) - 128
        np.testing.assert_allclose(out[:, frame] - 128.0, lost * (1 - away / 5), atol=0.51)


def test_what_comes_back_whole_changes_nothing():
    """A reconstruction without loss has no detail to give, whatever is kept."""
    whole = np.concatenate([GIVEN, GIVEN[:, ::-1]], axis=1)
    np.testing.assert_array_equal(kept.keep_frames(whole, [(0, GIVEN)]), whole)
    keep = RNG.random((24, 24)) < 0.5
    np.testing.assert_array_equal(kept.keep_pixels(GIVEN, GIVEN, keep), GIVEN)


def test_a_short_gap_has_the_detail_of_both_sides_and_given_frames_none_of_it():
    made = made_around(0, 10)  # two given parts and two frames between them
    out = kept.keep_frames(made, [(0, GIVEN), (10, GIVEN)])
    np.testing.assert_array_equal(out[:, :8], GIVEN)
    np.testing.assert_array_equal(out[:, 10:], GIVEN)
    lost = [GIVEN[:, i].astype(float) - 128 for i in (-1, 0)]
    wanted = np.clip(128 + 0.8 * lost[0] + 0.6 * lost[1], 0, 255)
    np.testing.assert_allclose(out[:, 8].astype(float), wanted, atol=0.51)


def test_what_is_gone_leaves_no_detail_behind():
    """A thing that was at the border and is not after it: neither its outline nor its texture."""
    made = made_around(0, 4)
    made[:, :8, 8:16, 8:16] = 20
    out = kept.keep_frames(made, [(0, GIVEN)])
    np.testing.assert_array_equal(out[:, 8:, 8:16, 8:16], 128)
    lost = GIVEN[:, 7, :8].astype(float) - 128
    np.testing.assert_allclose(out[:, 8, :8] - 128.0, lost * 0.8, atol=0.51)


def test_pixels_are_kept_and_detail_fades_out_near_them():
    keep = np.zeros((24, 24), bool)
    keep[:, :10] = True
    out = kept.keep_pixels(made_around(0, 0), GIVEN, keep)
    np.testing.assert_array_equal(out[:, :, keep], GIVEN[:, :, keep])
    np.testing.assert_array_equal(out[:, :, :, 10 + kept.REACH :], 128)
    # A picture that is brighter by a constant is brighter at the edge, and less so further away.
    lighter = np.full_like(GIVEN, 168)
    edge = kept.keep_pixels(made_around(0, 0), lighter, keep)[0, 0, 12, 9:15, 0].astype(int)
    assert edge[0] == 168 and np.all(np.diff(edge) <= 0) and edge[1] > 150 and edge[-1] == 128


def test_a_mask_may_move():
    keep = np.zeros((8, 24, 24), bool)
    keep[3] = True
    out = kept.keep_pixels(made_around(0, 0), GIVEN, keep)
    np.testing.assert_array_equal(out[:, 3], GIVEN[:, 3])
    assert (out[:, [0, 1, 2, 4, 5, 6, 7]] == 128).all()


def test_what_stands_still_in_a_gap_loses_its_grain_and_what_moves_is_left():
    given = np.repeat(GIVEN[:, :1], 2, axis=1)
    grain = RNG.integers(-3, 4, (1, 4, 24, 24, 3))
    made = (given[:, :1] + grain).astype(np.uint8)
    made[:, 2, 8:16, 8:16] = 255  # comes and goes
    out = kept.hold_still(made, given, given)
    moved = np.zeros((24, 24), bool)
    moved[6:18, 6:18] = True  # and two pixels around it
    np.testing.assert_array_equal(out[:, :, ~moved], np.repeat(given[:, :1], 4, 1)[:, :, ~moved])
    np.testing.assert_array_equal(out[:, :, moved], made[:, :, moved])


def test_more_is_grain_where_the_autoencoder_loses_more():
    given = np.full((1, 2, 24, 24, 3), 100, np.uint8)
    around, made = given.copy(), np.full((1, 4, 24, 24, 3), 112, np.uint8)
    around[:, :, :, :12] = 106
    out = kept.hold_still(made, around, given)
    assert (out[:, :, :, :10] == 100).all() and (out[:, :, :, 14:] == 112).all()


def test_lines_that_flicker_stand_still_and_things_do_not():
    given = np.full((1, 2, 24, 24, 3), 100, np.uint8)
    made = np.full((1, 4, 24, 24, 3), 100, np.uint8)
    made[:, 1, 4:6, :] = 160
    np.testing.assert_array_equal(kept.hold_still(made, given, given), 100)
    made[:, 1, 4:7, 4:7] = 160
    np.testing.assert_array_equal(kept.hold_still(made, given, given)[:, :, 4:7], made[:, :, 4:7])


def test_what_ends_as_another_picture_does_not_stand_still():
    given = np.stack([np.full((1, 24, 24, 3), value, np.uint8) for value in (60, 120)], 1)
    made = np.full((1, 4, 24, 24, 3), 90, np.uint8)
    np.testing.assert_array_equal(kept.hold_still(made, given, given), made)
