"""The pair test against statsmodels, and the series that must never reach it."""

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.tsa.stattools import coint

from domain.errors import InvariantBroken
from domain.statistics.engle_granger import Criterion, Method, PairTests, examine_pairs
from domain.statistics.panel import PricePanel, Space
from domain.statistics.status import STATUSES, Fitness, PairStatus
from flows.common.cointegration import confirm_numbers, confirm_tests

N = 300


class Direction:
    """The test of b on a, out of a panel of both."""

    def __init__(self, a: np.ndarray, b: np.ndarray, fitness: Fitness | None = None) -> None:
        self.panel = PricePanel(symbols=("b", "a"), prices=np.column_stack((b, a)))
        self.tests: PairTests = examine_pairs(self.panel, Method(fitness=fitness or Fitness()))
        self.status = STATUSES[self.tests.status[0, 1]]
        self.bars = int(self.tests.bars[0, 1])

    def __getattr__(self, name: str) -> float:
        return float(getattr(self.tests, name)[0, 1])


def examine(a: np.ndarray, b: np.ndarray, fitness: Fitness | None = None) -> Direction:
    return Direction(a, b, fitness)


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
    assert test.t_stat == pytest.approx(t_stat, rel=1e-10)
    assert test.p_value == pytest.approx(p_value, abs=1e-9)
    spread = b - fit.params[0] - fit.params[1] * a
    assert test.residual_std == pytest.approx(spread.std(ddof=1), rel=1e-9)


def test_large_levels_cost_no_digits() -> None:
    a, b = _pair(3)
    assert examine(a + 1e9, b).hedge_ratio == pytest.approx(examine(a, b).hedge_ratio, rel=1e-6)


def test_statsmodels_confirms_what_we_found_and_names_what_it_does_not() -> None:
    a, b = _pair(1)
    test = examine(a, b)
    ours = test.t_stat, test.hedge_ratio
    confirm_numbers("A_B", ours, (b, a), Method())
    confirm_tests(test.panel, test.tests, 0, 1, Method())
    later = b.copy()
    later[-1] += 1
    with pytest.raises(InvariantBroken, match=r"A_B: statsmodels says t -[\d.]+ .* nothing was written"):
        confirm_numbers("A_B", ours, (later, a), Method())
    with pytest.raises(InvariantBroken, match="A_B"):
        confirm_numbers("A_B", ours, (3 * a + 5, a), Method())  # Collinear: −inf.
    with pytest.raises(InvariantBroken, match="b on a"):
        confirm_tests(PricePanel(symbols=("b", "a"), prices=np.column_stack((later, a))), test.tests, 0, 1, Method())


@pytest.mark.parametrize("criterion", list(Criterion))
def test_the_second_opinion_asks_the_same_question(criterion: Criterion) -> None:
    a, b = (abs(series) for series in _pair(3))
    lags_max = 3 if criterion is Criterion.FIXED else None
    autolag = None if criterion is Criterion.FIXED else str(criterion)
    t_stat = coint(np.log(b), np.log(a), maxlag=lags_max, autolag=autolag)[0]
    ratio = np.polyfit(np.log(a), np.log(b), 1)[0]
    method = Method(space=Space.LOGS, criterion=criterion, lags_max=lags_max)
    gap = np.full(3, np.nan)
    legs = np.concatenate((gap, b)), np.concatenate((gap, a))
    confirm_numbers("B on A", (t_stat, ratio), legs, method)
    with pytest.raises(InvariantBroken, match="B on A"):
        confirm_numbers("B on A", (t_stat, ratio * 1.00001), legs, method)


def _stories() -> list[tuple[str, np.ndarray, np.ndarray, PairStatus]]:
    a, b = _pair(1)
    gappy = b.copy()
    gappy[50:80] = np.nan
    stopped = b.copy()
    stopped[-30:] = np.nan
    halted = b.copy()
    halted[:200] = halted[0]
    infinite, zero, misprint = b.copy(), b.copy(), b.copy()
    infinite[5], zero[5], misprint[77] = np.inf, 0.0, 1.2 * b[77]
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
        ("one bar far out and back again", a, misprint, PairStatus.BAD_PRINT),
        *((f"one bar times {factor:g}", a, _misprinted(b, factor), PairStatus.BAD_PRINT) for factor in _FACTORS),
    ]


# A slipped decimal point, other units, satoshis: the further out, the surer, whichever way.
_FACTORS = (0.8, 10, 0.1, 100, 0.01, 1000, 0.001, 1e8, 1e-8)


def _misprinted(prices: np.ndarray, factor: float) -> np.ndarray:
    return np.where(np.arange(len(prices)) == 77, factor * prices, prices)


@pytest.mark.parametrize(("story", "a", "b", "status"), _stories(), ids=[row[0] for row in _stories()])
def test_what_cannot_be_tested_has_no_numbers(story: str, a: np.ndarray, b: np.ndarray, status: PairStatus) -> None:
    for first, second in ((a, b), (b, a)):
        test = examine(first, second)
        assert test.status is status
        assert np.isnan([test.t_stat, test.p_value, test.hedge_ratio]).all()


def test_a_symbol_listed_late_is_short_not_gappy() -> None:
    a, b = _pair(1, n=600)
    b[:300] = np.nan
    assert examine(a, b).bars == 300
    assert examine(a, b).status is PairStatus.OK
    assert examine(a, b, Fitness(observations_min=400)).status is PairStatus.TOO_SHORT
