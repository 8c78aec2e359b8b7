"""The batched test against statsmodels: more than a thousand directions, every criterion, every temperament of prices."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from statistics_families import (
    FAMILIES,
    Floats,
    near_unit_root,
    panel_of,
    smooth,
    statsmodels_answer,
    statsmodels_coint,
    walks,
)
from statsmodels.tsa.stattools import adfuller
from statsmodels.tsa.vector_ar.vecm import coint_johansen

from domain.statistics import adf
from domain.statistics.engle_granger import Criterion, Method, PairTests, examine_pairs, half_lives
from domain.statistics.mackinnon import UNIT_ROOT, UNIT_ROOT_NO_CONSTANT, p_values
from domain.statistics.orthogonal import solve_orthogonal
from domain.statistics.panel import Space
from domain.statistics.spreads import series_of, solve_each
from domain.statistics.status import STATUSES, Fitness, PairStatus

T_MAX, P_MAX = 1e-8, 1e-9
ANYTHING = Fitness(observations_min=50, bad_print_steps=None, unmoved_share_max=1)
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
REAL = (
    "binance_um_2023_alpergulsen/klines_5m",
    "binance_spot_2021_nfi/close_1h",
    "binance_um_2025_1m_typhonun/klines_1m",
)


def _compare(
    series: Floats, options: Method, *, directions_max: int = 10_000, seed: int = 0
) -> tuple[PairTests, list[tuple[int, int]]]:
    """Every direction, or a random sample of them, against statsmodels; returns the directions that were compared."""
    tests = examine_pairs(panel_of(series), options)
    values = np.log(series) if options.space is Space.LOGS else series
    directions = list(panel_of(series).directions())
    np.random.default_rng(seed).shuffle(directions)
    autolag = None if options.criterion is Criterion.FIXED else str(options.criterion)
    compared = directions[:directions_max]
    for number, (y, x) in enumerate(compared):
        answer = statsmodels_answer(values[y], values[x], lags_max=options.lags_max, autolag=autolag)
        status = STATUSES[tests.status[y, x]]
        if answer.t == -np.inf:
            assert status is PairStatus.COLLINEAR
            assert np.isnan(tests.t_stat[y, x])
            continue
        assert status is PairStatus.OK
        assert abs(tests.t_stat[y, x] - answer.t) <= T_MAX
        assert abs(tests.p_value[y, x] - answer.p) <= P_MAX
        assert tests.lag[y, x] == answer.lag
        assert tests.bars[y, x] == series.shape[1]
        assert tests.hedge_ratio[y, x] == pytest.approx(answer.hedge_ratio, rel=1e-9)
        scale = float(np.std(values[y]))
        assert tests.intercept[y, x] == pytest.approx(answer.intercept, rel=1e-9, abs=1e-9 * scale)
        assert tests.residual_std[y, x] == pytest.approx(answer.residual.std(ddof=1), rel=1e-9)
        if number % 4 == 0:
            itself = statsmodels_coint(values[y], values[x], lags_max=options.lags_max, autolag=autolag)
            assert abs(tests.t_stat[y, x] - itself.t) <= T_MAX
            assert abs(tests.p_value[y, x] - itself.p) <= P_MAX
    return tests, compared


# Six symbols are few enough for the path that goes pair by pair, fourteen are enough for the matrix products.
@pytest.mark.parametrize("count", [6, 14])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_temperament_is_statsmodels_to_the_last_useful_digit(
    family: Callable[[np.random.Generator, int, int], Floats], count: int
) -> None:
    """9 × (30 + 70) directions."""
    series = family(np.random.default_rng(count), count, 300)
    _, compared = _compare(series, Method(fitness=ANYTHING), directions_max=70)
    assert len(compared) == min(70, count * (count - 1))


@pytest.mark.parametrize("space", list(Space))
@pytest.mark.parametrize(
    ("criterion", "lags_max"),
    [
        (Criterion.BIC, None),
        (Criterion.BIC, 5),
        (Criterion.T_STAT, None),
        (Criterion.T_STAT, 7),
        (Criterion.FIXED, 0),
        (Criterion.FIXED, 3),
        (Criterion.FIXED, None),
        (Criterion.AIC, 0),
        (Criterion.AIC, 2),
        (Criterion.AIC, 40),
    ],
)
def test_every_criterion(space: Space, criterion: Criterion, lags_max: int | None) -> None:
    """2 × 10 × 15 directions, by the products and one by one."""
    series = near_unit_root(np.random.default_rng(3), 14, 250)
    options = Method(space=space, criterion=criterion, lags_max=lags_max, fitness=ANYTHING)
    _compare(series, options, directions_max=10)
    _compare(series[4:9], options, directions_max=5)


@pytest.mark.parametrize("bars", [50, 97, 720, 1440, 3000])
def test_every_length(bars: int) -> None:
    _compare(walks(np.random.default_rng(bars), 12, bars), Method(fitness=ANYTHING), directions_max=6)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("space", list(Space))
def test_real_prices(name: str, space: Space) -> None:
    """3 × 2 × 25 directions of real candles, gaps of the exchange left out."""
    path = SHARED / f"{name}.parquet"
    if not path.is_file():
        pytest.skip("the real bars are not beside this clone")
    with duckdb.connect(config={"threads": 1}) as connection:
        query = f"PIVOT (SELECT symbol, ts, close FROM '{path}') ON symbol USING first(close) GROUP BY ts ORDER BY ts"
        table = connection.execute(query).fetchnumpy()
    columns = [np.ma.filled(values.astype(np.float64), np.nan) for key, values in table.items() if key != "ts"]
    prices = np.column_stack(columns)
    listed = np.isfinite(prices).sum(axis=1)
    prices = prices[listed >= 0.9 * listed.max()][-3000:]
    prices = prices[:, np.isfinite(prices).mean(axis=0) > 0.95]
    prices = prices[np.isfinite(prices).all(axis=1)][-1000:]
    tests, _ = _compare(np.ascontiguousarray(prices.T), Method(space=space, fitness=ANYTHING), directions_max=25)
    assert len(tests.symbols) >= 15


def _reference(y: Floats, x: Floats, lag: int) -> float:
    """The t-statistic at this lag in 80-bit floats, by orthogonalisation."""
    y, x = y.astype(np.longdouble), x.astype(np.longdouble)
    y, x = y - y.mean(), x - x.mean()
    residual = y - (x @ y) / (x @ x) * x
    step = np.diff(residual)
    m = len(step)
    columns = [step[lag - k : m - k] for k in range(1, lag + 1)] + [residual[lag:m], step[lag:]]
    q = np.column_stack(columns)
    for i in range(q.shape[1] - 1):
        q[:, i] /= np.sqrt(q[:, i] @ q[:, i])
        q[:, i + 1 :] -= np.outer(q[:, i], q[:, i] @ q[:, i + 1 :])
    z = q[:, -2] @ columns[-1]
    return float(z / np.sqrt(q[:, -1] @ q[:, -1]) * np.sqrt(np.longdouble(m - lag - lag - 1)))


def test_where_statsmodels_itself_loses_digits_we_do_not() -> None:
    """Smooth series: statsmodels is up to 1e-8 off the 80-bit truth, its normal matrix being uncentred; we are not."""
    series = smooth(np.random.default_rng(1), 14, 400)
    tests = examine_pairs(panel_of(series), Method(fitness=ANYTHING))
    for y, x in [(0, 1), (5, 1), (3, 13), (12, 7), (9, 2), (6, 4)]:
        truth = _reference(series[y], series[x], int(tests.lag[y, x]))
        theirs = statsmodels_answer(series[y], series[x])
        assert tests.lag[y, x] == theirs.lag
        assert abs(tests.t_stat[y, x] - truth) <= 1e-10
        assert abs(tests.t_stat[y, x] - theirs.t) <= 1e-7


@pytest.mark.parametrize("count", [5, 14])
def test_what_comes_with_the_test_is_its_formula(count: int) -> None:
    """Half-life, Hurst exponent, crossings and Johansen's trace, from the residual itself."""
    series = near_unit_root(np.random.default_rng(9), count, 400)
    series[-1] += 50  # A level without a share in the spread.
    tests = examine_pairs(panel_of(series), Method(fitness=ANYTHING))
    for y, x in list(panel_of(series).directions())[::3]:
        residual = statsmodels_answer(series[y], series[x]).residual
        before, after = residual[:-1], residual[1:]
        phi = float(before @ after / (before @ before))
        assert tests.half_life[y, x] == pytest.approx(max(0.1, -np.log(2) / np.log(phi)) if phi > 0 else 0.1, rel=1e-8)
        reaches = np.array(adf.HURST_LAGS)
        spreads = [np.mean((residual[reach:] - residual[:-reach]) ** 2) for reach in reaches]
        slope = np.polyfit(np.log(reaches), np.log(spreads), 1)[0]
        assert tests.hurst[y, x] == pytest.approx(slope / 2, abs=1e-10)
        assert tests.crossings[y, x] == np.count_nonzero(np.diff(residual > 0))
        trace = coint_johansen(series[[y, x]].T, 0, 1).lr1[0]
        assert tests.johansen_trace[y, x] == pytest.approx(trace, rel=1e-8)
        assert tests.johansen_trace[x, y] == tests.johansen_trace[y, x]


def test_johansen_of_nearly_collinear_pairs() -> None:
    for family in FAMILIES[5:7]:
        series = family(np.random.default_rng(2), 14, 300)
        tests = examine_pairs(panel_of(series), Method(fitness=ANYTHING))
        for y, x in np.argwhere(tests.status == 0)[::7]:
            trace = coint_johansen(series[[y, x]].T, 0, 1).lr1[0]
            assert tests.johansen_trace[y, x] == pytest.approx(trace, rel=1e-7)


def test_half_lives_of_what_swings_and_what_runs_away() -> None:
    assert half_lives(np.array([1.0, 1.2, 0.5, 0.0, -0.7]))[2:].tolist() == [1.0, 0.1, 0.1]
    assert np.isnan(half_lives(np.array([1.0, 1.2]))).all()


def test_a_legs_own_test_is_adfuller() -> None:
    series = near_unit_root(np.random.default_rng(4), 8, 350)
    series = np.concatenate((series, walks(np.random.default_rng(5), 4, 350)))
    pairs = np.array([(place, 0) for place in range(len(series))])
    found = series_of(len(pairs))
    solve_each(adf.lanes_of(40, 40, 1), series, np.isfinite(series), pairs, -1, adf.AIC, 1, found)
    for place, own in enumerate(series):
        expected = adfuller(own, result_object=False)
        assert abs(found.t_stat[place] - expected[0]) <= T_MAX
        assert abs(p_values(found.t_stat, UNIT_ROOT)[place] - expected[1]) <= P_MAX
        assert found.lag[place] == expected[2]
        plain = adfuller(own - own.mean(), regression="n", result_object=False)
        t_stat, lag = solve_orthogonal(own - own.mean(), adf.AIC, None)
        assert (abs(t_stat - plain[0]) <= T_MAX, lag) == (True, plain[2])
        assert abs(p_values(np.array([t_stat]), UNIT_ROOT_NO_CONSTANT)[0] - plain[1]) <= P_MAX
