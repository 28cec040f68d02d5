"""The rule of `optimizer.base_width` on a real training: one best rate for all widths."""

import pytest

from benchmarks import width_transfer


@pytest.mark.slow
def test_the_best_rate_of_toy_widths_coincides_within_a_factor_of_two():
    """Toy at 64, 128 and 256, trained at seven multiples of one rate; no optimum at an end."""
    found = width_transfer.sweep(width_transfer.make_data(), width_transfer.RULES["adamw"])
    assert found["spread"] < 2
    ends = width_transfer.MULTIPLES[0], width_transfer.MULTIPLES[-1]
    assert all(ends[0] < best < ends[1] for best in found["best"].values())


def test_the_optimum_is_that_of_the_parabola_or_an_end():
    losses = {2.0**k: (k - 0.25) ** 2 for k in range(-3, 4)}
    assert width_transfer.optimum(losses) == pytest.approx(2**0.25)
    assert width_transfer.optimum({2.0**k: float(k) for k in range(-3, 4)}) == 0.125
    assert width_transfer.optimum({1.0: 0.5, 2.0: 0.1, 4.0: float("nan")}) == 2.0
