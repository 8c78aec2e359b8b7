"""The pair test against statsmodels, and the series that must never reach it."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import coint

from flows.jobs.cointegration import (
    HALF_LIFE_BARS_MIN,
    Fitness,
    PairStatus,
    examine,
    half_life_bars,
    ols_line,
    q_values,
)

N = 300


def _walk(seed: int, n: int = N, level: float = 100.0) -> np.ndarray:
    return level + np.cumsum(np.random.default_rng(seed).normal(0, 0.3, n))


def _pair(seed: int, n: int = N, ratio: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    a = _walk(seed, n)
    return a, 7.0 + ratio * a + np.random.default_rng(seed + 1000).normal(0, 0.5, n)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_statsmodels_own(seed: int) -> None:
    a, b = _pair(seed) if seed % 2 else (_walk(seed), _walk(seed + 50))
    test = examine(a, b)
    fit = sm.OLS(b, sm.add_constant(a)).fit()
    t_stat, p_value, _ = coint(b, a, trend="c", autolag="aic")
    assert test.status is PairStatus.OK
    assert test.hedge_ratio == pytest.approx(fit.params[1], rel=1e-9)
    assert test.intercept == pytest.approx(fit.params[0], rel=1e-7)
    assert test.t_stat == pytest.approx(t_stat, rel=1e-12)
    assert test.p_value == pytest.approx(p_value, rel=1e-12)
    spread = b - fit.params[1] * a
    assert test.spread_mean == pytest.approx(spread.mean(), rel=1e-9)
    assert test.spread_std == pytest.approx(spread.std(ddof=1), rel=1e-9)


def test_large_levels_cost_no_digits() -> None:
    a, b = _pair(3)
    slope, _ = ols_line(a + 1e9, b)
    assert slope == pytest.approx(ols_line(a, b)[0], rel=1e-6)


def _stories() -> list[tuple[str, np.ndarray, np.ndarray, PairStatus]]:
    a, b = _pair(1)
    gappy = b.copy()
    gappy[50:80] = np.nan
    stopped = b.copy()
    stopped[-30:] = np.nan
    halted = b.copy()
    halted[:200] = halted[0]
    infinite, zero = b.copy(), b.copy()
    infinite[5], zero[5] = np.inf, 0.0
    return [
        ("too few bars", a[:100], b[:100], PairStatus.TOO_SHORT),
        ("no bars at all", a * np.nan, b, PairStatus.TOO_SHORT),
        ("a hole in the middle", a, gappy, PairStatus.GAPPY),
        ("it stopped trading", a, stopped, PairStatus.GAPPY),
        ("never moves", np.full(N, 5.0), b, PairStatus.CONSTANT),
        ("mostly does not move", a, halted, PairStatus.HALTED),
        ("the same series", a, a.copy(), PairStatus.COLLINEAR),
        ("the same series, scaled and shifted", a, 3 * a + 5, PairStatus.COLLINEAR),
        ("an infinite price", a, infinite, PairStatus.UNUSABLE),
        ("a price of nothing", a, zero, PairStatus.UNUSABLE),
    ]


@pytest.mark.parametrize(("story", "a", "b", "status"), _stories(), ids=[row[0] for row in _stories()])
def test_what_cannot_be_tested_has_no_numbers(story: str, a: np.ndarray, b: np.ndarray, status: PairStatus) -> None:
    for first, second in ((a, b), (b, a)):
        test = examine(first, second)
        assert test.status is status
        assert test.t_stat is None
        assert test.p_value is None
        assert test.hedge_ratio is None


def test_a_symbol_listed_late_is_short_not_gappy() -> None:
    a, b = _pair(1, n=600)
    b[:300] = np.nan
    assert examine(a, b).observations == 300
    assert examine(a, b).status is PairStatus.OK
    assert examine(a, b, Fitness(observations_min=400)).status is PairStatus.TOO_SHORT


@given(phi=st.floats(0.05, 0.98), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_half_life_of_a_known_process(phi: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=4000)
    residual = np.empty(4000)
    residual[0] = noise[0]
    for index in range(1, 4000):
        residual[index] = phi * residual[index - 1] + noise[index]
    found = half_life_bars(residual)
    assert found is not None
    implied = math.exp(-math.log(2) / found)
    assert implied == pytest.approx(phi, abs=0.09) or found == HALF_LIFE_BARS_MIN


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=50))
@settings(deadline=None)
def test_half_life_is_positive_or_none(values: list[float]) -> None:
    found = half_life_bars(np.asarray(values))
    assert found is None or (math.isfinite(found) and found >= HALF_LIFE_BARS_MIN)


def test_what_runs_away_or_swings_has_no_or_the_least_half_life() -> None:
    assert half_life_bars(np.arange(1.0, 100.0)) is None
    assert half_life_bars(np.array([1.0, -1.0] * 20)) == HALF_LIFE_BARS_MIN


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(deadline=None)
def test_q_values_are_benjamini_yekutieli(p_values: list[float]) -> None:
    assert q_values(p_values) == pytest.approx(
        multipletests(p_values, method="fdr_by")[1].tolist(), rel=1e-9, abs=1e-300
    )


def test_no_tests_no_q_values() -> None:
    assert q_values([]) == []
