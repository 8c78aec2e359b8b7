"""Hedge estimators and scan statistics: each against somebody else's word for it, and that what is chosen is what is traded by."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recalibration_market import OPTIONS, incumbent, market
from statsmodels.tsa.vector_ar.vecm import coint_johansen

from domain.statistics.adf import Floats
from domain.statistics.decisions import RecalibrationRules, Universe
from domain.statistics.engle_granger import Method, examine_pairs
from domain.statistics.estimators import ESTIMATORS, HedgeEstimator, ols_changes, ols_levels, tls_levels
from domain.statistics.panel import Space
from domain.statistics.recalibration import recalibrate
from domain.statistics.scan import ScanOptions, scan
from domain.statistics.statistic import JOHANSEN_TRACE_MIN, STATISTICS, Statistic
from domain.statistics.status import Fitness
from domain.statistics.surrogates import planted_pairs

OTHERS = [estimator for estimator in HedgeEstimator if estimator is not HedgeEstimator.OLS_LEVELS]


def legs(seed: int, bars: int = 300, slope: float = 2.0, noise: float = 1.0) -> Floats:
    """y = 7 + slope · x + noise, both walks, x seen with an error of its own."""
    rng = np.random.default_rng(seed)
    x = 50 + np.cumsum(rng.normal(0, 1, bars))
    return np.column_stack((7 + slope * x + rng.normal(0, noise, bars), x + rng.normal(0, noise, bars)))


def by_singular_vectors(both: Floats) -> float:
    """Total least squares as the books have it: the direction in which the centred points vary most."""
    _, _, directions = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
    return float(directions[0, 0] / directions[0, 1])


def test_every_name_has_one_line_of_meaning() -> None:
    assert set(ESTIMATORS) == set(HedgeEstimator)
    assert set(STATISTICS) == set(Statistic)
    for one in (*ESTIMATORS.values(), *STATISTICS.values()):
        assert one.meaning
        assert "\n" not in one.meaning


@pytest.mark.parametrize("slope", [2.0, -0.3, 1e-4, 250.0])
@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_each_estimator_is_what_its_name_says(slope: float, noise: float) -> None:
    both = legs(1, slope=slope, noise=noise)
    y, x = both.T
    changes = np.diff(both, axis=0)
    assert ols_levels(both) == pytest.approx(np.polynomial.Polynomial.fit(x, y, 1).convert().coef[1], rel=1e-9)
    assert tls_levels(both) == pytest.approx(by_singular_vectors(both), rel=1e-8)
    assert ols_changes(both) == pytest.approx(np.cov(changes.T)[0, 1] / np.cov(changes.T)[1, 1], rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(-50, 50).filter(lambda slope: abs(slope) > 0.01), st.floats(0.01, 20))
def test_total_least_squares_is_one_line_both_ways(seed: int, slope: float, noise: float) -> None:
    """And it lies between the two lines of least squares."""
    both = legs(seed, slope=slope, noise=noise)
    other_way = both[:, ::-1]
    found = tls_levels(both)
    assert found * tls_levels(other_way) == pytest.approx(1.0, rel=1e-9)
    low, high = sorted((abs(ols_levels(both)), abs(1 / ols_levels(other_way))))
    assert low * (1 - 1e-9) <= abs(found) <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("y", "x", "expected"),
    [([1, 1, 1, 1], [1, 2, 3, 4], 0.0), ([1, 2, 3, 4], [1, 1, 1, 1], math.nan), ([1, 2, 3, 4], [-1, -2, -3, -4], -1.0)],
    ids=["y stands still", "x stands still", "mirrored"],
)
def test_total_least_squares_at_its_edges(y: list[float], x: list[float], expected: float) -> None:
    assert tls_levels(np.array([y, x], dtype=float).T) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("space", Space)
@pytest.mark.parametrize("estimator", OTHERS)
def test_a_pair_s_spread_is_by_the_estimator_and_its_test_is_not(estimator: HedgeEstimator, space: Space) -> None:
    """Bars are missing, so that every pair has bars of its own; one leg stands still and is no pair."""
    panel = planted_pairs(np.random.default_rng(2), symbols=5, bars=300, pairs=2, half_life_bars=5).panel
    panel.prices[np.random.default_rng(3).random(panel.prices.shape) < 0.01] = np.nan
    panel.prices[:, 4] = 1.0
    method = Method(space=space, fitness=Fitness(gap_share_max=0.2))
    plain, found = (
        examine_pairs(panel, replace(method, estimator=one)) for one in (HedgeEstimator.OLS_LEVELS, estimator)
    )
    for name in ("status", "bars", "t_stat", "p_value", "lag", "hurst", "johansen_trace", "crossings"):
        assert np.array_equal(getattr(plain, name), getattr(found, name), equal_nan=True), name
    values = np.log(panel.prices) if space is Space.LOGS else panel.prices
    for y, x in panel.directions():
        if 4 in {y, x}:
            assert np.isnan([found.hedge_ratio[y, x], found.intercept[y, x], found.half_life[y, x]]).all()
            continue
        both = values[:, [y, x]]
        both = both[np.isfinite(both).all(axis=1)]
        ratio = ESTIMATORS[estimator].hedge_ratio(both)
        spread = both[:, 0] - ratio * both[:, 1]
        centred = spread - spread.mean()
        phi = np.linalg.lstsq(centred[:-1, None], centred[1:], rcond=None)[0][0]
        assert found.hedge_ratio[y, x] == ratio
        assert ratio != plain.hedge_ratio[y, x]
        assert found.intercept[y, x] == pytest.approx(spread.mean())
        assert found.residual_std[y, x] == pytest.approx(spread.std(ddof=1))
        assert found.half_life[y, x] == pytest.approx(
            -math.log(2) / math.log(phi) if 0 < phi < 1 else math.nan, nan_ok=True
        )


@pytest.mark.parametrize("universe", Universe)
@pytest.mark.parametrize("estimator", HedgeEstimator)
def test_what_is_written_is_by_the_estimator(estimator: HedgeEstimator, universe: Universe) -> None:
    """Of pairs of the file and of those that come in; the stability gate looks at parts by the same estimator."""
    panel = market(pairs=4, seed=1)
    options = replace(OPTIONS, method=replace(OPTIONS.method, estimator=estimator))
    rules = RecalibrationRules(universe=universe, scan=options, max_turnover=10)
    verdict = recalibrate(panel, [incumbent(0), incumbent(1)], rules)
    assert verdict.pairs_after
    for pair in verdict.pairs_after:
        b, a = (panel.symbols.index(leg) for leg in (pair.leg_b, pair.leg_a))
        whole = panel.prices[:, [b, a]]
        assert pair.hedge_ratio == pytest.approx(ESTIMATORS[estimator].hedge_ratio(whole), rel=1e-9)
    for survivor in verdict.scanned.survivors:
        formation = panel.prices[: verdict.scanned.formation_bars, [survivor.y, survivor.x]]
        third = len(formation) // 3
        assert survivor.parts is not None
        assert survivor.parts[0] == pytest.approx(ESTIMATORS[estimator].hedge_ratio(formation[:third]), rel=1e-12)


def test_the_limit_of_johansen_s_trace_is_statsmodels_own() -> None:
    assert coint_johansen(np.log(market().prices[:, :2]), 0, 1).cvt[0, 1] == JOHANSEN_TRACE_MIN


def test_what_johansen_does_not_confirm_is_no_evidence() -> None:
    """Counted among the looks all the same: the family does not shrink by what came out."""
    panel = planted_pairs(np.random.default_rng(5), symbols=24, bars=800, pairs=6, half_life_bars=3).panel
    options = ScanOptions(method=Method(space=Space.LOGS))
    alone, confirmed = (scan(panel, replace(options, statistic=one)) for one in Statistic)
    assert alone.family == confirmed.family
    assert alone.p_value is alone.tests.p_value
    doubted = alone.tests.johansen_trace <= JOHANSEN_TRACE_MIN
    looked_good = doubted & (alone.p_value < 0.05)
    assert looked_good.any(), "or this compares nothing"
    assert (confirmed.p_value[doubted] == 1).all()
    assert np.array_equal(confirmed.p_value[~doubted], alone.p_value[~doubted], equal_nan=True)
    assert {(s.y, s.x) for s in confirmed.survivors} <= {(s.y, s.x) for s in alone.survivors}
    assert confirmed.survivors


def test_a_pair_of_the_file_is_asked_by_the_same_statistic() -> None:
    panel = market(broken=frozenset({0}), pairs=3, seed=1)
    rules = RecalibrationRules(scan=replace(OPTIONS, statistic=Statistic.JOHANSEN_CONFIRMED))
    broken, sound = recalibrate(panel, [incumbent(0), incumbent(2)], rules).decisions
    assert broken.found is not None
    assert broken.found.p_value == 1.0
    assert sound.found is not None
    assert sound.found.p_value is not None
    assert sound.found.p_value < 0.05
