"""The bounds of the running sums hold for what the live function says, however bad the prices, and are narrow where they are good."""

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from domain.spread import statistics_of
from flows.backtest.engine.market import carried
from flows.backtest.engine.windows import bounds_of, statistics_at, statistics_at_all


@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 10_000),
    level=st.sampled_from([0.0, 1.0, -1e4, 1e9]),
    step=st.sampled_from([1e-6, 1.0, 1e3]),
    size=st.sampled_from([3, 60, 300]),
    bad=st.sampled_from([0.0, 1e3, 1e9]),
)
def test_what_live_says_lies_within(seed: int, level: float, step: float, size: int, bad: float) -> None:
    """Walks at any level, one bad print, a stretch that stands still, and a missing bar."""
    rng = np.random.default_rng(seed)
    spreads = level + np.cumsum(rng.normal(0, step, 5000))
    spreads[2100:2500] = spreads[2100]
    spreads[1000] += bad
    spreads[4000] = math.nan
    bounds = bounds_of(spreads, size)
    assert bounds.mean.size == spreads.size - size + 1
    for place in [
        *rng.integers(0, bounds.mean.size, 300).tolist(),
        1000 - size + 1,
        1000,
        2100,
        2200,
        4000 - size,
        4001,
    ]:
        window = spreads[place : place + size]
        if np.isnan(window).any():
            assert all(math.isnan(column[place]) for column in bounds)
            continue
        exact = statistics_of(window)
        mean, std = float(window.mean()), float(window.std(ddof=1))
        assert abs(mean - bounds.mean[place]) <= bounds.mean_error[place]
        assert bounds.std_low[place] <= std <= bounds.std_high[place]
        if exact is None:
            assert bounds.std_low[place] <= bounds.resolution[place]


def test_the_bounds_are_narrow() -> None:
    """On prices as they are the exact function is needed for next to nothing; a bad print is felt in its own block only."""
    spreads = 60_000 + np.cumsum(np.random.default_rng(1).normal(0, 5, 20_000))
    bounds = bounds_of(spreads, 60)
    assert ((bounds.std_high - bounds.std_low) / bounds.std_high).max() < 1e-4
    assert (bounds.mean_error / bounds.std_high).max() < 1e-4
    spreads[10_000] *= 100
    bounds = bounds_of(spreads, 60)
    wide = (bounds.std_high - bounds.std_low) / bounds.std_high > 1e-4
    assert not wide[:7000].any()
    assert not wide[13_000:].any()


@pytest.mark.parametrize("first_bar", [0, 1, 59, 60, 29_106_720])
def test_one_window_is_live_s_ring_to_the_last_bit(first_bar: int) -> None:
    rng = np.random.default_rng(2)
    a, b = 100 + rng.normal(0, 1, 200), 200 + rng.normal(0, 1, 200)
    for end in (60, 61, 137, 200):
        ring_a, ring_b = np.empty(60), np.empty(60)
        for bar in range(end - 60, end):
            ring_a[(first_bar + bar) % 60], ring_b[(first_bar + bar) % 60] = a[bar], b[bar]
        assert statistics_at(a, b, 0.7, first_bar=first_bar, end=end, size=60) == statistics_of(ring_b - 0.7 * ring_a)
    assert statistics_at(a, b, 0.7, first_bar=first_bar, end=59, size=60) is None


@pytest.mark.parametrize("size", [2, 7, 60, 129, 1000])
@pytest.mark.parametrize("level", [0.0, 200.0, 1e9])
def test_many_windows_are_each_to_the_last_bit(size: int, level: float) -> None:
    """One alone, and many at once; windows without statistics among them: too early, one that stands still, one that lacks a bar."""
    rng = np.random.default_rng(3)
    a, b = 100 + rng.normal(0, 1, 4000), level + rng.normal(0, 1e-3, 4000)
    a[2000:3100] = b[2000:3100] = 1.0
    b[3500] = math.nan
    ends = np.unique(np.append(rng.integers(0, 4001, 300), (0, size - 1, size, 3050, 3501, 4000)))
    singly = [statistics_at(a, b, 0.7, first_bar=29_106_721, end=end, size=size) for end in ends.tolist()]
    assert statistics_at_all(a, b, 0.7, first_bar=29_106_721, ends=ends, size=size) == singly
    assert None in singly
    for end, one in zip(ends, singly, strict=True):
        assert statistics_at_all(a, b, 0.7, first_bar=29_106_721, ends=np.array([end]), size=size) == [one]


def test_a_silent_leg_s_close_is_carried_for_three_bars() -> None:
    nan = math.nan
    found = carried(np.array([nan, 1.0, nan, nan, nan, nan, 2.0, nan]), 3)
    np.testing.assert_array_equal(found, [nan, 1, 1, 1, 1, nan, 2, 2])
