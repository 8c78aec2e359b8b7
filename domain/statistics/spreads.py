"""Where the residuals come from: all pairs of a block out of matrix products, or one pair at a time out of its own series."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.statistics.adf import LANES, WINDOW_MIN, Floats, Lanes, Search, schwert, solve
from domain.statistics.compiled import compiled, for_kernel, kernel_record


@kernel_record
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What is found, an array each, all of one shape: of all directions of a panel (symbols, symbols) as [y, x], NaN and -1 where
    nothing was tested; of a tile (2, left, right) as [direction, i, j].

    Hedge ratio, intercept and deviation are in units of the tested space: prices, or logarithms.
    """

    hedge_ratio: Floats  # Units of x for a unit of y.
    intercept: Floats  # Of the line, in units of y.
    residual_std: Floats  # Standard deviation (ddof 1) of the residual, in units of y.
    t_stat: Floats  # Of the residual's level: the Engle-Granger statistic.
    lag: NDArray[np.int16]  # Of the test, in bars.
    phi: Floats  # AR(1) coefficient of the residual a bar, without a constant.
    hurst: Floats  # Exponent of the residual; 0.5 for a walk.
    crossings: NDArray[np.int32]  # How often the residual crosses its mean.
    unexplained: Floats  # 1 - R² of the levels.
    sound: Floats  # The smallest pivot as a share of its diagonal; 0: take the exact path.


def findings_of(*shape: int) -> Findings:
    """Nothing found yet."""
    return Findings(
        hedge_ratio=np.full(shape, np.nan),
        intercept=np.full(shape, np.nan),
        residual_std=np.full(shape, np.nan),
        t_stat=np.full(shape, np.nan),
        lag=np.full(shape, -1, dtype=np.int16),
        phi=np.full(shape, np.nan),
        hurst=np.full(shape, np.nan),
        crossings=np.full(shape, -1, dtype=np.int32),
        unexplained=np.full(shape, np.nan),
        sound=np.full(shape, np.nan),
    )


@kernel_record
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Symbols that share their n bars, padded with zeros to whole lanes; in units of the tested space.

    The edges are laid as those of `Lanes`, a symbol in place of a lane.
    """

    levels: Floats  # (symbols, n), centred
    means: Floats  # (symbols,): what was taken out
    head_level: Floats  # (window + 1, symbols)
    tail_level: Floats  # (window + 1, symbols)
    head_step: Floats  # (window, symbols)
    tail_step: Floats  # (window, symbols)
    doubled: Floats  # (window + 1, symbols): each one's own Σ (d_t + d_{t-k})² over t = window … m-1; for k = 0, Σ d_t²
    energy: Floats  # (symbols,): Σ level² over all n bars
    place: NDArray[np.int64]  # (symbols,): its place in the panel; -1 for padding


EXPLAINED_MAX = 1e-4
"""Below this share of what the legs bring, a spread built from products has lost digits: the exact path takes over."""


def solve_tile(
    room: Lanes,
    block: Block,
    m: int,
    search: Search,
    rows: tuple[int, int],
    columns: tuple[int, int],
    levels: Floats,
    steps: Floats,
    out: Findings,
) -> None:
    """Both directions of every pair (i, j), i in `rows`, j in `columns`, i < j, over m + 1 bars; the lanes share one i. In `out`
    direction 0 is j on i, direction 1 is i on j.

    `levels` (rows, columns) [i, j] holds Σ x_i x_j and `steps` (window + 1, rows, columns) [k, i, j] the sum
    Σ (d_i,t + d_i,t-k)(d_j,t + d_j,t-k), for k = 0 Σ d_i,t d_j,t, both over this tile; only j from i's own lanes on is read.
    """
    _solve_tile(for_kernel(room), for_kernel(block), m, search, rows, columns, levels, steps, for_kernel(out))


@compiled
def _solve_tile(
    s: Lanes,
    b: Block,
    m: int,
    search: Search,
    rows: tuple[int, int],
    columns: tuple[int, int],
    levels: Floats,
    steps: Floats,
    out: Findings,
) -> None:
    slope, of_i, of_j = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for i in range(rows[0], rows[1]):
        if b.place[i] < 0:
            continue
        begin = max(columns[0], (i + 1) // LANES * LANES)
        for j in range(begin, columns[1], LANES):
            tile_i, tile_j = i - rows[0], j - columns[0]
            for direction in range(2):
                for w in range(LANES):
                    cross = levels[tile_i, tile_j + w]
                    if direction == 0:
                        slope[w] = cross / b.energy[i]
                        of_i[w], of_j[w] = -slope[w], 1.0
                    else:
                        slope[w] = cross / b.energy[j + w]
                        of_i[w], of_j[w] = 1.0, -slope[w]
                    ours = of_i[w] ** 2 * b.energy[i] + of_j[w] ** 2 * b.energy[j + w]
                    s.energy[w] = ours + 2 * of_i[w] * of_j[w] * cross
                _blend(b.head_level, i, j, of_i, of_j, s.head_level)
                _blend(b.tail_level, i, j, of_i, of_j, s.tail_level)
                _blend(b.head_step, i, j, of_i, of_j, s.head_step)
                _blend(b.tail_step, i, j, of_i, of_j, s.tail_step)
                # Σ (d_t + d_{t-k})² less Σ d_t² and Σ d²_{t-k} is twice what is wanted; the last of them moves along the edges.
                moving = s.sums[0]
                for k in range(search.window + 1):
                    for w in range(LANES):
                        total = (
                            of_i[w] ** 2 * b.doubled[k, i]
                            + of_j[w] ** 2 * b.doubled[k, j + w]
                            + 2 * of_i[w] * of_j[w] * steps[k, tile_i, tile_j + w]
                        )
                        if k == 0:
                            s.products[0, w] = moving[w] = total
                        else:
                            moving[w] += s.head_step[search.window - k, w] ** 2 - s.tail_step[k - 1, w] ** 2
                            s.products[k, w] = 0.5 * (total - s.products[0, w] - moving[w])
                solve(s, m, search)
                for w in range(LANES):
                    if i < j + w and b.place[j + w] >= 0:
                        brought = of_i[w] ** 2 * b.energy[i] + of_j[w] ** 2 * b.energy[j + w]
                        moved = of_i[w] ** 2 * b.doubled[0, i] + of_j[w] ** 2 * b.doubled[0, j + w]
                        if s.energy[w] < EXPLAINED_MAX * brought or s.products[0, w] < EXPLAINED_MAX * moved:
                            s.sound[w] = 0.0
                        y, x = (j + w, i) if direction == 0 else (i, j + w)
                        at = direction, tile_i, tile_j + w
                        out.hedge_ratio[at] = slope[w]
                        out.intercept[at] = b.means[y] - slope[w] * b.means[x]
                        out.residual_std[at] = math.sqrt(s.energy[w] / m)
                        out.t_stat[at] = s.t_stat[w]
                        out.lag[at] = int(s.lag[w])
                        out.phi[at] = s.phi[w]
                        out.hurst[at] = s.hurst[w]
                        out.unexplained[at] = s.energy[w] / b.energy[y]
                        out.sound[at] = s.sound[w]
            _count_crossings(b, i, j, m, (i - rows[0], j - columns[0]), out)


@compiled
def _count_crossings(b: Block, i: int, j: int, m: int, at: tuple[int, int], out: Findings) -> None:
    """Of i with the lanes from j on, the first at `at` in the tile; both directions at once: their rows come from far away."""
    for w in range(LANES):
        if i < j + w and b.place[j + w] >= 0:
            at_i, at_j = at[0], at[1] + w
            on_i, on_j = out.hedge_ratio[0, at_i, at_j], out.hedge_ratio[1, at_i, at_j]
            both = _crossings_of_both(b.levels[j + w], b.levels[i], on_i, on_j, m)
            out.crossings[0, at_i, at_j], out.crossings[1, at_i, at_j] = both


@compiled
def _blend(source: Floats, i: int, j: int, of_i: Floats, of_j: Floats, target: Floats) -> None:
    for t in range(source.shape[0]):
        left = source[t, i]
        for w in range(LANES):
            target[t, w] = of_i[w] * left + of_j[w] * source[t, j + w]


@compiled
def _crossings(y: Floats, x: Floats, slope: float, m: int) -> int:
    count = 0
    for t in range(m):
        count += (y[t] > slope * x[t]) != (y[t + 1] > slope * x[t + 1])
    return count


@compiled
def _crossings_of_both(y: Floats, x: Floats, on_x: float, on_y: float, m: int) -> tuple[int, int]:
    """Of y on x, and of x on y: the rows are read once."""
    first = second = 0
    for t in range(m):
        first += (y[t] > on_x * x[t]) != (y[t + 1] > on_x * x[t + 1])
        second += (x[t] > on_y * y[t]) != (x[t + 1] > on_y * y[t + 1])
    return first, second


@compiled
def _solve_series(s: Lanes, e: Floats, m: int, search: Search) -> None:
    """One residual e of m + 1 bars by its own autocovariances; the results in lane 0."""
    step, window = np.empty(m), search.window
    s.total[0] = e[m]
    for t in range(m):
        step[t] = e[t + 1] - e[t]
        s.total[0] += e[t]
    for t in range(window + 1):
        s.head_level[t, 0], s.tail_level[t, 0] = e[t], e[m - t]
        s.products[t, 0] = _dot(step, window, step, window - t, m - window)
    for t in range(window):
        s.head_step[t, 0], s.tail_step[t, 0] = step[t], step[m - 1 - t]
    s.energy[0] = _dot(e, 0, e, 0, m + 1)
    solve(s, m, search)


@compiled
def _dot(a: Floats, a_start: int, b: Floats, b_start: int, count: int) -> float:
    total = 0.0
    for t in range(count):
        total += a[a_start + t] * b[b_start + t]
    return total


@compiled
def _centred(a: Floats, count: int) -> float:
    """Take the mean out of the first `count` in place; returns it."""
    total = 0.0
    for t in range(count):
        total += a[t]
    mean = total / count
    for t in range(count):
        a[t] -= mean
    return mean


@kernel_record
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """What the exact path finds, each (requests,); the fields as in `Findings`."""

    bars: NDArray[np.int64]  # That both legs have.
    hedge_ratio: Floats
    intercept: Floats
    residual_std: Floats
    t_stat: Floats
    lag: NDArray[np.int64]
    phi: Floats
    hurst: Floats
    crossings: NDArray[np.int64]
    unexplained: Floats
    sound: Floats


def series_of(count: int) -> Series:
    """Room for so many requests."""
    return Series(
        bars=np.zeros(count, dtype=np.int64),
        hedge_ratio=np.full(count, np.nan),
        intercept=np.full(count, np.nan),
        residual_std=np.full(count, np.nan),
        t_stat=np.full(count, np.nan),
        lag=np.zeros(count, dtype=np.int64),
        phi=np.full(count, np.nan),
        hurst=np.full(count, np.nan),
        crossings=np.zeros(count, dtype=np.int64),
        unexplained=np.full(count, np.nan),
        sound=np.full(count, np.nan),
    )


def solve_each(
    room: Lanes,
    values: Floats,
    present: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    lags_asked: int,
    criterion: int,
    constant: int,
    out: Series,
) -> None:
    """The exact path: directions `pairs` (requests, 2) as (y, x) one by one, each over the bars that both have, into `out`.

    `values` (symbols, bars) in the tested space where `present` (symbols, bars) is true. `lags_asked` -1: Schwert's. `constant` 1:
    an ADF test of y itself, with an intercept. `room`: one lane of the largest reach.
    """
    _solve_each(for_kernel(room), values, present, pairs, lags_asked, criterion, constant, for_kernel(out))


@compiled
def _solve_each(
    s: Lanes,
    values: Floats,
    present: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    lags_asked: int,
    criterion: int,
    constant: int,
    out: Series,
) -> None:
    count = values.shape[1]
    y, x, e = np.empty(count), np.empty(count), np.empty(count)
    for row in range(pairs.shape[0]):
        n = 0
        of_y, of_x = pairs[row, 0], pairs[row, 1]
        for t in range(count):
            if present[of_y, t] and present[of_x, t]:
                y[n], x[n] = values[of_y, t], values[of_x, t]
                n += 1
        mean_y, mean_x = _centred(y, n), _centred(x, n)
        slope = 0.0 if constant else _dot(x, 0, y, 0, n) / _dot(x, 0, x, 0, n)
        for t in range(n):
            e[t] = y[t] - slope * x[t]
        lags_max = lags_asked if lags_asked >= 0 else schwert(n, constant)
        _solve_series(s, e, n - 1, Search(max(lags_max, WINDOW_MIN), lags_max, criterion, constant))
        out.bars[row] = n
        out.hedge_ratio[row], out.intercept[row] = slope, mean_y - slope * mean_x
        out.residual_std[row] = math.sqrt(s.energy[0] / (n - 1))
        out.t_stat[row], out.lag[row] = s.t_stat[0], int(s.lag[0])
        out.phi[row], out.hurst[row], out.sound[row] = s.phi[0], s.hurst[0], s.sound[0]
        out.unexplained[row] = s.energy[0] / _dot(y, 0, y, 0, n)
        out.crossings[row] = _crossings(y, x, slope, n - 1)
