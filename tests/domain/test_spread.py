"""The statistics of a window: exact, or None."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.spread import SpreadMoments, statistics_of

FINITE = st.floats(-1e6, 1e6)


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


@pytest.mark.parametrize("spreads", [[1.0] * 5, [0.1 + 0.2, 0.3, 0.3], [1e9, 1e9, math.nan], [0.0] * 3])
def test_a_window_that_does_not_move_or_misses_a_bar_has_no_statistics(spreads: list[float]) -> None:
    assert statistics_of(np.array(spreads)) is None


def test_z_is_the_distance_in_deviations() -> None:
    assert SpreadMoments(10.0, 2.0).z_score(7.0) == -1.5
