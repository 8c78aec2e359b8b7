"""Engle-Granger, all pairs of a panel in both directions: the semantics of `statsmodels.tsa.stattools.coint`, without its loop.

Symbols that share their bars go through matrix products, block by block; pairs with bars of their own go one by one through
the same solver. What is too ill-conditioned for either is solved by an orthogonal factor. Memory beyond the result does not
grow with the number of pairs.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.statistics import adf, fitness
from domain.statistics.adf import Floats
from domain.statistics.batches import Batch, Piece, reach, solve, solve_singly, strips_of_block
from domain.statistics.blocks import Places, Tile
from domain.statistics.estimators import ESTIMATORS, HedgeEstimator
from domain.statistics.mackinnon import COINTEGRATION, UNIT_ROOT, p_values
from domain.statistics.orthogonal import solve_orthogonal
from domain.statistics.panel import PricePanel, Space
from domain.statistics.spreads import Findings, findings_of, series_of, solve_each
from domain.statistics.status import CODES, Fitness, PairStatus

Progress = Callable[[int, int], None]
"""Called now and then with (pairs done, pairs in all)."""
Spread = Callable[[Batch], Iterable[Piece]]
"""Somebody else who solves a batch: cut into smaller ones, elsewhere, in any order."""
COLLINEAR_MAX = 100 * math.sqrt(float(np.finfo(np.float64).eps))
"""statsmodels' own limit: with less than this share unexplained (1 - R²) a pair is collinear, and it answers −inf."""
PRICE_MAX = 1e50
"""A price above it, or below its inverse, is no price: infinite, zero and negative ones among them."""
HALF_LIFE_BARS_MIN = 0.1
"""A residual that forgets within the bar: its half-life cannot be told any better, and must be above 0."""
_OK, _UNUSABLE, _EXCLUDED = CODES[PairStatus.OK], CODES[PairStatus.UNUSABLE], CODES[PairStatus.EXCLUDED]
_STATIONARY = CODES[PairStatus.STATIONARY_LEG]
_FOUND = tuple(field.name for field in fields(Findings))
_PENDING = -1
_BARS_MIN = 40
_TOGETHER_MIN = 64  # Fewer pairs than this on the same bars are not worth a matrix product.


class Criterion(StrEnum):
    """How the number of lags is chosen."""

    AIC = "aic"
    BIC = "bic"
    T_STAT = "t-stat"
    FIXED = "fixed"


_CRITERIA = {Criterion.FIXED: adf.FIXED, Criterion.AIC: adf.AIC, Criterion.BIC: adf.BIC, Criterion.T_STAT: adf.T_STAT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is tested and how. `lags_max` None: Schwert's rule, as in statsmodels; with FIXED it is the number of lags itself.

    `estimator`: of the hedge ratio that is told and traded; the test's own residual is of least squares whatever it says.
    """

    space: Space = Space.LEVELS
    criterion: Criterion = Criterion.AIC
    lags_max: int | None = None
    estimator: HedgeEstimator = HedgeEstimator.OLS_LEVELS
    fitness: Fitness = field(default_factory=Fitness)

    def __post_init__(self) -> None:
        if self.lags_max is not None and self.lags_max < 0:
            raise ValueError(f"lags_max must be at least 0, not {self.lags_max}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTests:
    """Every direction of every pair, as matrices [y, x] in the panel's order of symbols.

    The numbers stand where `status` is OK or STATIONARY_LEG, and are NaN (lag and crossings -1) everywhere else. `half_life`
    is in bars, NaN when nothing pulls the spread back. `johansen_trace` is the same both ways. Hedge ratio, intercept, deviation
    and half-life are of the method's estimator; t, p, lag, Hurst exponent and crossings of the test's least squares.
    """

    symbols: tuple[str, ...]
    status: NDArray[np.int8]  # Places in STATUSES; the diagonal is EXCLUDED.
    bars: NDArray[np.int32]  # That both symbols have.
    hedge_ratio: Floats  # Units of x for a unit of y; in logs, dollars of x for a dollar of y.
    intercept: Floats  # In units of y.
    residual_std: Floats  # ddof 1, in units of y.
    t_stat: Floats
    p_value: Floats
    lag: NDArray[np.int16]  # Of the test, in bars.
    half_life: Floats  # In bars.
    hurst: Floats  # 0.5 for a walk, less for what comes back.
    johansen_trace: Floats
    crossings: NDArray[np.int32]  # Of the residual's mean.


def examine_pairs(
    panel: PricePanel,
    options: Method | None = None,
    *,
    excluded: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
    spread: Spread | None = None,
) -> PairTests:
    """Test every pair both ways (Engle and Granger 1987, p by MacKinnon 2010). Never raises for prices: the status says what is wrong.

    `panel` (bars, symbols); `excluded` (symbols, symbols) [y, x] names pairs that are not to be looked at. `spread`: who solves it
    instead of this process alone.
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
    whole = _batch(sheet, blocks, pairs[sheet.is_tested(pairs)], options)
    # Prices whose squares are no numbers any more end in NaN, and that in a status.
    with np.errstate(all="ignore"):
        for piece in solve(whole) if spread is None else spread(whole):
            report(_take(sheet, piece))
        _solve_with_care(sheet, whole)
        return _estimated(_finished(sheet), sheet, options.estimator)


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
        # Beyond this the squares of a pair's numbers would leave what a double can say.
        unusable = ((prices < 1 / PRICE_MAX) | (prices > PRICE_MAX)).any(axis=1)
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
        found=findings_of(count, count),
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
    room = adf.lanes_of(*reach(sheet.values.shape[1], None), 1)
    solve_each(room, sheet.values, sheet.present, np.ascontiguousarray(pairs), -1, adf.AIC, 1, found)
    return p_values(found.t_stat, UNIT_ROOT)


def _batch(sheet: _Sheet, blocks: list[tuple[Places, Places]], pairs: Places, options: Method) -> Batch:
    """All that is to be solved."""
    open_blocks = []
    for left, right in blocks:
        is_open = np.isin(sheet.status[np.ix_(left, right)], (_OK, _STATIONARY))
        ours, theirs = left[is_open.any(axis=1)], right[is_open.any(axis=0)]
        if not len(ours):
            continue
        if left is right:
            ours = theirs = np.union1d(ours, theirs)
        open_blocks.append(strips_of_block(ours, theirs))
    return Batch(
        values=sheet.values,
        criterion=_CRITERIA[options.criterion],
        lags_max=options.lags_max,
        blocks=tuple(open_blocks),
        pairs=pairs,
    )


def _take(sheet: _Sheet, piece: Piece) -> int:
    """Put what was found in its place; returns how many pairs it was."""
    if isinstance(piece, Tile):
        i, j = np.nonzero(piece.fits)
        left, right = piece.left[i], piece.right[j]
        for name in _FOUND:
            whole, tile = getattr(sheet.found, name), getattr(piece.found, name)
            whole[right, left], whole[left, right] = tile[0, i, j], tile[1, i, j]
        sheet.trace[left, right] = sheet.trace[right, left] = piece.trace[i, j]
        return len(i)
    at = tuple(piece.directions.T)
    for name in _FOUND:
        getattr(sheet.found, name)[at] = getattr(piece.found, name)
    sheet.trace[at] = piece.trace
    sheet.trace[at[::-1]] = piece.trace
    return len(piece.directions) // 2


def _solve_with_care(sheet: _Sheet, whole: Batch) -> None:
    """What lost digits in the products is solved from its series; what loses them there too, by an orthogonal factor."""
    tested = np.isin(sheet.status, (_OK, _STATIONARY))
    unsound = np.argwhere(tested & ~_is_sound(sheet.found))
    if len(unsound):
        _take(sheet, solve_singly(whole, unsound))
    collinear = sheet.found.unexplained <= COLLINEAR_MAX
    for y, x in np.argwhere(tested & ~collinear & ~_is_sound(sheet.found)):
        together = sheet.present[y] & sheet.present[x]
        spread = sheet.values[y, together] - sheet.found.hedge_ratio[y, x] * sheet.values[x, together]
        t_stat, lag = solve_orthogonal(spread - spread.mean(), whole.criterion, whole.lags_max)
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


def _estimated(tests: PairTests, sheet: _Sheet, estimator: HedgeEstimator) -> PairTests:
    """The spread of each tested direction by another hedge ratio than the test's own."""
    if estimator is HedgeEstimator.OLS_LEVELS:
        return tests
    phi = np.full(tests.status.shape, np.nan)
    for y, x in np.argwhere(np.isin(tests.status, (_OK, _STATIONARY))):
        together = sheet.present[y] & sheet.present[x]
        legs = np.column_stack((sheet.values[y, together], sheet.values[x, together]))
        ratio = ESTIMATORS[estimator].hedge_ratio(legs)
        spread = legs[:, 0] - ratio * legs[:, 1]
        intercept = float(spread.mean())
        spread -= intercept
        tests.hedge_ratio[y, x], tests.intercept[y, x] = ratio, intercept
        tests.residual_std[y, x] = math.sqrt(spread @ spread / (len(spread) - 1))
        phi[y, x] = spread[:-1] @ spread[1:] / (spread[:-1] @ spread[:-1])
    return replace(tests, half_life=half_lives(phi))


def half_lives(phi: Floats) -> Floats:
    """−ln 2 / ln φ of AR(1) coefficients a bar (any shape), in bars: how long half of a distance takes to go.

    At least `HALF_LIFE_BARS_MIN`; NaN where nothing pulls the residual back.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = -math.log(2) / np.log(np.clip(phi, 0.0, None))
        kept: Floats = np.where(phi < 1, np.maximum(found, HALF_LIFE_BARS_MIN), np.nan)
    return kept
