"""Engle-Granger, all pairs of a panel in both directions: the semantics of `statsmodels.tsa.stattools.coint`, without its loop.

Symbols that share their bars go through matrix products, block by block; pairs with bars of their own go one by one through
the same solver. What is too ill-conditioned for either is solved by an orthogonal factor. Memory beyond the result does not
grow with the number of pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.statistics import adf, fitness, johansen
from domain.statistics.adf import Floats
from domain.statistics.blocks import solve_together
from domain.statistics.mackinnon import COINTEGRATION, UNIT_ROOT, p_values
from domain.statistics.orthogonal import solve_orthogonal
from domain.statistics.panel import PricePanel, Space
from domain.statistics.spreads import Findings, findings_of, series_of, solve_each
from domain.statistics.status import CODES, Fitness, PairStatus

Places = NDArray[np.int64]
Progress = Callable[[int, int], None]
"""Called now and then with (pairs done, pairs in all)."""
COLLINEAR_MAX = 100 * math.sqrt(float(np.finfo(np.float64).eps))
"""statsmodels' own limit: with less than this share unexplained (1 - R²) a pair is collinear, and it answers −inf."""
HALF_LIFE_BARS_MIN = 0.1
"""A residual that forgets within the bar: its half-life cannot be told any better, and must be above 0."""
_OK, _UNUSABLE, _EXCLUDED = CODES[PairStatus.OK], CODES[PairStatus.UNUSABLE], CODES[PairStatus.EXCLUDED]
_STATIONARY = CODES[PairStatus.STATIONARY_LEG]
_PENDING = -1
_BARS_MIN = 40
_TOGETHER_MIN = 64  # Fewer pairs than this on the same bars are not worth a matrix product.
_PAIRS_BEFORE_PROGRESS = 4096


class Criterion(StrEnum):
    """How the number of lags is chosen."""

    AIC = "aic"
    BIC = "bic"
    T_STAT = "t-stat"
    FIXED = "fixed"


_CRITERIA = {Criterion.FIXED: adf.FIXED, Criterion.AIC: adf.AIC, Criterion.BIC: adf.BIC, Criterion.T_STAT: adf.T_STAT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is tested and how. `lags_max` None: Schwert's rule, as in statsmodels; with FIXED it is the number of lags itself."""

    space: Space = Space.LEVELS
    criterion: Criterion = Criterion.AIC
    lags_max: int | None = None
    fitness: Fitness = field(default_factory=Fitness)

    def __post_init__(self) -> None:
        if self.lags_max is not None and self.lags_max < 0:
            raise ValueError(f"lags_max must be at least 0, not {self.lags_max}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTests:
    """Every direction of every pair, as matrices [y, x] in the panel's order of symbols.

    The numbers stand where `status` is OK or STATIONARY_LEG, and are NaN (lag and crossings -1) everywhere else. `half_life`
    is in bars, NaN when nothing pulls the spread back. `johansen_trace` is the same both ways.
    """

    symbols: tuple[str, ...]
    status: NDArray[np.int8]  # Places in STATUSES; the diagonal is EXCLUDED.
    bars: NDArray[np.int32]
    hedge_ratio: Floats
    intercept: Floats
    residual_std: Floats
    t_stat: Floats
    p_value: Floats
    lag: NDArray[np.int16]
    half_life: Floats
    hurst: Floats
    johansen_trace: Floats
    crossings: NDArray[np.int32]


def examine_pairs(
    panel: PricePanel,
    options: Method | None = None,
    *,
    excluded: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> PairTests:
    """Test every pair both ways. Never raises for prices: the status says what is wrong with them.

    `excluded` [y, x] names pairs that are not to be looked at.
    """
    options = options or Method()
    # What the arithmetic itself needs, whatever is asked for: more bars than a lag search has columns, and than its edges are long.
    bars_min = max(_BARS_MIN, 2 * (options.lags_max or 0) + 10, options.fitness.observations_min)
    options = replace(options, fitness=replace(options.fitness, observations_min=bars_min))
    sheet = _sheet(panel, options, excluded)
    report = _reporter(sheet, progress)
    blocks = _blocks(sheet)
    for left, right in blocks:
        _judge_block(sheet, left, right, options.fitness)
    pairs = np.argwhere(np.triu(sheet.status == _PENDING, 1))
    _judge_singly(sheet, pairs, options.fitness)
    for left, right in blocks:
        _solve_block(sheet, left, right, options, report)
    pairs = pairs[sheet.is_tested(pairs)]
    for start in range(0, len(pairs), _PAIRS_BEFORE_PROGRESS):
        some = pairs[start : start + _PAIRS_BEFORE_PROGRESS]
        _solve_singly(sheet, np.concatenate((some, some[:, ::-1])), options)
        report(len(some))
    _solve_with_care(sheet, options)
    return _finished(sheet)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """A scan in the making. `prices`, `values` (prices in the tested space) and `present` are (symbols, bars)."""

    symbols: tuple[str, ...]
    prices: Floats
    values: Floats
    present: NDArray[np.bool_]
    status: NDArray[np.int8]
    bars: NDArray[np.int32]
    found: Findings
    trace: Floats

    def is_tested(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(self.status[tuple(pairs.T)], (_OK, _STATIONARY))

    def settle(self, pairs: NDArray[np.int64], codes: NDArray[np.int64]) -> None:
        self.status[tuple(pairs.T)] = codes
        self.status[tuple(pairs[:, ::-1].T)] = codes


def _sheet(panel: PricePanel, options: Method, excluded: NDArray[np.bool_] | None) -> _Sheet:
    count = len(panel.symbols)
    prices = np.ascontiguousarray(panel.prices.T, dtype=np.float64)
    with np.errstate(all="ignore"):
        values = np.log(prices) if options.space is Space.LOGS else prices
        unusable = (np.isinf(prices) | (prices <= 0)).any(axis=1)
    status = np.full((count, count), _PENDING, dtype=np.int8)
    status[unusable, :] = status[:, unusable] = _UNUSABLE
    if excluded is not None:
        status[excluded | excluded.T] = _EXCLUDED
    np.fill_diagonal(status, _EXCLUDED)
    return _Sheet(
        symbols=panel.symbols,
        prices=prices,
        values=values,
        present=np.isfinite(prices),
        status=status,
        bars=np.zeros((count, count), dtype=np.int32),
        found=findings_of(count),
        trace=np.full((count, count), np.nan),
    )


def _reporter(sheet: _Sheet, progress: Progress | None) -> Callable[[int], None]:
    total = int(np.triu(sheet.status == _PENDING, 1).sum())
    done = 0

    def report(more: int) -> None:
        nonlocal done
        done = min(total, done + more)
        if progress is not None:
            progress(done, total)

    return report


def _blocks(sheet: _Sheet) -> list[tuple[Places, Places]]:
    """Groups of symbols whose pairs all have the same bars, where there are enough of them for a matrix product."""
    groups: dict[bytes, list[int]] = {}
    for place in np.flatnonzero((sheet.status == _PENDING).any(axis=1)):
        groups.setdefault(np.packbits(sheet.present[place]).tobytes(), []).append(int(place))
    members = sorted((np.array(group) for group in groups.values()), key=len, reverse=True)
    found = []
    for number, left in enumerate(members):
        if len(left) * (len(left) - 1) // 2 >= _TOGETHER_MIN:
            found.append((left, left))
        for right in members[number + 1 :]:
            if len(left) * len(right) < _TOGETHER_MIN:
                break
            found.append((left, right))
    return found


def _judge_block(sheet: _Sheet, left: Places, right: Places, fit: Fitness) -> None:
    """The status of every pair of a block before its test."""
    rows = np.flatnonzero(sheet.present[left[0]] & sheet.present[right[0]])
    bars, everyone = len(rows), np.union1d(left, right)
    legs = np.full(len(sheet.symbols), _OK, dtype=np.int64)
    if bars < fit.observations_min:
        legs[everyone] = CODES[PairStatus.TOO_SHORT]
    elif 1 - bars / ((sheet.present.shape[1] if fit.must_be_current else rows[-1] + 1) - rows[0]) > fit.gap_share_max:
        legs[everyone] = CODES[PairStatus.GAPPY]
    else:
        codes = np.empty(len(everyone), dtype=np.int64)
        prices = np.ascontiguousarray(sheet.prices[np.ix_(everyone, rows)])
        fitness.leg_codes(prices, fit.unmoved_share_max, _steps(fit), codes)
        legs[everyone] = codes
        if fit.leg_p_min is not None:
            good = everyone[codes == _OK]
            partner = np.where(np.isin(good, left), right[0], left[0])
            stationary = _leg_p_values(sheet, np.column_stack((good, partner))) <= fit.leg_p_min
            legs[good[stationary]] = _STATIONARY
    here = np.ix_(left, right)
    one, other = np.broadcast_arrays(legs[left][:, None], legs[right][None, :])
    # The worse of both legs: the first in the list of statuses that is not OK.
    codes = np.where(one == _OK, other, np.where(other == _OK, one, np.minimum(one, other)))
    waiting = sheet.status[here] == _PENDING
    sheet.bars[here] = bars
    sheet.status[here] = np.where(waiting, codes, sheet.status[here])
    there = np.ix_(right, left)
    sheet.bars[there], sheet.status[there] = sheet.bars[here].T, sheet.status[here].T


def _judge_singly(sheet: _Sheet, pairs: NDArray[np.int64], fit: Fitness) -> None:
    codes, bars = np.empty(len(pairs), dtype=np.int64), np.empty(len(pairs), dtype=np.int64)
    fitness.judge_pairs(
        sheet.prices, sheet.present, pairs, fit.observations_min, fit.gap_share_max, fit.must_be_current,
        fit.unmoved_share_max, _steps(fit),
        codes, bars,
    )  # fmt: skip
    sheet.bars[tuple(pairs.T)] = sheet.bars[tuple(pairs[:, ::-1].T)] = bars
    if fit.leg_p_min is not None:
        good = np.flatnonzero(codes == _OK)
        for order in (pairs[good], pairs[good][:, ::-1]):
            codes[good[_leg_p_values(sheet, order) <= fit.leg_p_min]] = _STATIONARY
    sheet.settle(pairs, codes)


def _steps(fit: Fitness) -> float:
    return math.inf if fit.bad_print_steps is None else fit.bad_print_steps


def _leg_p_values(sheet: _Sheet, pairs: NDArray[np.int64]) -> Floats:
    """The ADF p-value of the first of each pair over the bars of both."""
    found = series_of(len(pairs))
    room = adf.lanes_of(*_reach(sheet, None), 1)
    solve_each(room, sheet.values, sheet.present, np.ascontiguousarray(pairs), -1, adf.AIC, 1, found)
    return p_values(found.t_stat, UNIT_ROOT)


def _reach(sheet: _Sheet, lags_max: int | None) -> tuple[int, int]:
    """The largest window and number of lags that any pair of the sheet can ask for."""
    lags = adf.schwert(sheet.values.shape[1], 0) if lags_max is None else lags_max
    lags = max(lags, adf.WINDOW_MIN)
    return lags, lags


def _solve_block(sheet: _Sheet, left: Places, right: Places, options: Method, report: Callable[[int], None]) -> None:
    is_open = np.isin(sheet.status[np.ix_(left, right)], (_OK, _STATIONARY))
    ours, theirs = left[is_open.any(axis=1)], right[is_open.any(axis=0)]
    if not len(ours):
        return
    if left is right:
        ours = theirs = np.union1d(ours, theirs)
    rows = np.flatnonzero(sheet.present[left[0]] & sheet.present[right[0]])
    lags_max = adf.schwert(len(rows), 0) if options.lags_max is None else options.lags_max
    search = adf.Search(max(lags_max, adf.WINDOW_MIN), lags_max, _CRITERIA[options.criterion], 0)
    for done in solve_together(sheet.values, rows, (ours, theirs), search, sheet.found, sheet.trace):
        report(done)


def _solve_singly(sheet: _Sheet, pairs: NDArray[np.int64], options: Method) -> None:
    """The exact path for these directions, and Johansen's trace."""
    asked = -1 if options.lags_max is None else options.lags_max
    found = series_of(len(pairs))
    room = adf.lanes_of(*_reach(sheet, options.lags_max), 1)
    solve_each(room, sheet.values, sheet.present, pairs, asked, _CRITERIA[options.criterion], 0, found)
    for name in Findings._fields:
        getattr(sheet.found, name)[tuple(pairs.T)] = getattr(found, name)
    # Both directions have the one trace, so it is computed once.
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    moments, count = np.empty((johansen.MOMENTS, len(pairs))), np.empty(len(pairs))
    slopes = sheet.found.hedge_ratio[tuple(pairs.T)]
    johansen.moments_each(sheet.values, sheet.present, pairs, slopes, moments, count)
    trace = np.empty(len(pairs))
    johansen.traces(moments, count, trace)
    sheet.trace[tuple(pairs.T)] = sheet.trace[tuple(pairs[:, ::-1].T)] = trace


def _solve_with_care(sheet: _Sheet, options: Method) -> None:
    """What lost digits in the products is solved from its series; what loses them there too, by an orthogonal factor."""
    tested = np.isin(sheet.status, (_OK, _STATIONARY))
    pairs = np.argwhere(tested & ~_is_sound(sheet.found))
    _solve_singly(sheet, pairs, options)
    collinear = sheet.found.unexplained <= COLLINEAR_MAX
    for y, x in np.argwhere(tested & ~collinear & ~_is_sound(sheet.found)):
        together = sheet.present[y] & sheet.present[x]
        spread = sheet.values[y, together] - sheet.found.hedge_ratio[y, x] * sheet.values[x, together]
        t_stat, lag = solve_orthogonal(spread - spread.mean(), _CRITERIA[options.criterion], options.lags_max)
        sheet.found.t_stat[y, x], sheet.found.lag[y, x] = t_stat, lag


def _is_sound(found: Findings) -> NDArray[np.bool_]:
    return (found.sound >= adf.SOUND_MIN) & np.isfinite(found.t_stat)


def _finished(sheet: _Sheet) -> PairTests:
    found, status = sheet.found, sheet.status
    tested = np.isin(status, (_OK, _STATIONARY))
    status[tested & (found.unexplained <= COLLINEAR_MAX)] = CODES[PairStatus.COLLINEAR]
    status[np.isin(status, (_OK, _STATIONARY)) & ~np.isfinite(found.t_stat)] = _UNUSABLE
    nothing = ~np.isin(status, (_OK, _STATIONARY))
    for numbers in (found.hedge_ratio, found.intercept, found.residual_std, found.t_stat, found.phi, found.hurst):
        numbers[nothing] = np.nan
    sheet.trace[nothing] = np.nan
    found.lag[nothing] = found.crossings[nothing] = -1
    return PairTests(
        symbols=sheet.symbols,
        status=status,
        bars=sheet.bars,
        hedge_ratio=found.hedge_ratio,
        intercept=found.intercept,
        residual_std=found.residual_std,
        t_stat=found.t_stat,
        p_value=p_values(found.t_stat, COINTEGRATION),
        lag=found.lag,
        half_life=half_lives(found.phi),
        hurst=found.hurst,
        johansen_trace=sheet.trace,
        crossings=found.crossings,
    )


def half_lives(phi: Floats) -> Floats:
    """−ln 2 / ln φ of AR(1) coefficients, in bars, at least `HALF_LIFE_BARS_MIN`; NaN where nothing pulls the residual back."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = -math.log(2) / np.log(np.clip(phi, 0.0, None))
        kept: Floats = np.where(phi < 1, np.maximum(found, HALF_LIFE_BARS_MIN), np.nan)
    return kept
