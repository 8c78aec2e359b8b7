"""Windows and their statistics: exact, or None."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.spread import SpreadStatistics, SpreadWindow, statistics_of

FINITE = st.floats(-1e6, 1e6)


@given(st.integers(3, 20), st.lists(FINITE, max_size=60))
def test_a_window_is_the_last_spreads_in_order(size: int, spreads: list[float]) -> None:
    window = SpreadWindow(size)
    for spread in spreads:
        window.append(spread)
    assert window.values().tolist() == spreads[-size:]
    assert len(window) == min(size, len(spreads))
    assert window.is_full == (len(spreads) >= size)
    if not window.is_full:
        assert window.statistics() is None


@given(st.lists(FINITE, min_size=3, max_size=50))
def test_statistics_are_the_textbook_ones(spreads: list[float]) -> None:
    got = statistics_of(np.array(spreads))
    mean = math.fsum(spreads) / len(spreads)
    std = math.sqrt(math.fsum((x - mean) ** 2 for x in spreads) / (len(spreads) - 1))
    largest = max(abs(x) for x in spreads)
    if got is None:
        assert std <= largest * 1e-9
    else:
        assert got.mean == pytest.approx(mean, abs=largest * 1e-12)
        assert got.std == pytest.approx(std, rel=1e-6, abs=largest * 1e-9)


@pytest.mark.parametrize("spread", [math.nan, math.inf, -math.inf])
def test_a_spread_that_is_no_number_is_refused(spread: float) -> None:
    window = SpreadWindow(3)
    with pytest.raises(ValueError, match="finite"):
        window.append(spread)
    assert len(window) == 0


@pytest.mark.parametrize("spreads", [[1.0] * 5, [0.1 + 0.2, 0.3, 0.3], [1e9, 1e9, math.nan], [0.0] * 3])
def test_a_window_that_does_not_move_or_misses_a_bar_has_no_statistics(spreads: list[float]) -> None:
    assert statistics_of(np.array(spreads)) is None


def test_clearing_forgets_everything() -> None:
    window = SpreadWindow(3)
    for spread in (1.0, 2.0, 3.0, 4.0):
        window.append(spread)
    window.clear()
    assert window.values().tolist() == []
    assert window.statistics() is None


def test_z_is_the_distance_in_deviations() -> None:
    assert SpreadStatistics(10.0, 2.0).z_score(7.0) == -1.5
