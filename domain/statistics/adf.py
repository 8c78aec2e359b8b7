"""The arithmetic of one augmented Dickey-Fuller test, for many residuals side by side in the lanes of vector registers.

A residual e of n = m + 1 bars enters as its first and last few values (edges) and the autocovariances of its steps
d_t = e_{t+1} - e_t over t = window … m-1. That determines the whole test, and for e = y - b·x those autocovariances are
quadratic in b: one matrix product a lag serves all pairs and both directions. From there:

1.  G(i,j) = Σ d_{t-i} d_{t-j} by recursion along its diagonals, G(i+1,j+1) = G(i,j) + one step entering - one leaving.
2.  Σ e_t d_{t-j} telescopes: ½(e²_end - e²_start - G(j,j)) + Σ_{i≤j} G(i,j).
3.  One Cholesky factor of [level, lag 1 … lag P | step] holds the sum of squares of all P+1 nested models, as the squares of
    its last row; that chooses the lag. A second one over the longer sample, level last, holds t.

The semantics are those of `statsmodels.tsa.stattools.adfuller` (regressions "n" and "c"), search and refit included.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from domain.statistics.compiled import compiled, kernel_record

Floats = NDArray[np.float64]

FIXED, AIC, BIC, T_STAT = 0, 1, 2, 3
LANES = 32
HURST_LAGS = (1, 2, 4, 8, 16)
WINDOW_MIN = 16
"""The autocovariances reach at least this far, because the Hurst exponent looks 16 bars ahead."""
SOUND_MIN = 1e-6
"""A pivot below this share of its diagonal costs more digits than we promise: the exact path takes over."""
T_STAT_STOP = 1.6448536269514722  # statsmodels' own: the 95 % quantile of the normal distribution.


class Search(NamedTuple):
    """How one test is made. A tuple of its own, so that its numbers are never constants to the compiler: it would build each.

    And a tuple rather than a record, because compiled code makes it, too.
    """

    window: int  # Where the autocovariances start, and how far back they reach; at least lags_max.
    lags_max: int  # Most lags of the step, in bars; with FIXED, all of them.
    criterion: int  # FIXED, AIC, BIC or T_STAT.
    constant: int  # 1: an intercept in the test regression.


@kernel_record
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lanes:
    """Residuals side by side, what is told of them, room to work in, and results: axis 0 is time or lag, axis 1 the lane.

    Levels e and steps d are in the tested space: price units of y, or logarithms.
    """

    head_level: Floats  # (window + 1, lanes): e_0 … e_window
    tail_level: Floats  # (window + 1, lanes): e_m, e_{m-1} …
    head_step: Floats  # (window, lanes): d_0 …
    tail_step: Floats  # (window, lanes): d_{m-1}, d_{m-2} …
    products: Floats  # (window + 1, lanes): Σ d_t d_{t-k} over t = window … m-1
    energy: Floats  # (lanes,): Σ e² over all n bars
    total: Floats  # (lanes,): Σ e over all n bars
    gram: Floats  # scratch (window + 1, window + 1, lanes)
    factor: Floats  # scratch (lags_max + 2, lags_max + 2, lanes)
    sums: Floats  # scratch (window + 4, lanes)
    small: Floats  # scratch (lags_max + 2, lags_max + 2)
    t_stat: Floats  # result (lanes,): t of the level, a pure number
    lag: Floats  # result (lanes,): lags of the step, in bars
    phi: Floats  # result (lanes,): AR(1) coefficient a bar, without a constant
    hurst: Floats  # result (lanes,): exponent, 0.5 for a walk
    sound: Floats  # result (lanes,): the smallest pivot as a share of its diagonal


def lanes_of(window: int, lags_max: int, count: int) -> Lanes:
    """Room for `count` residuals, `window` and `lags_max` in bars."""
    edge, size = (window, count), lags_max + 2
    return Lanes(
        head_level=np.zeros((window + 1, count)),
        tail_level=np.zeros((window + 1, count)),
        head_step=np.zeros(edge),
        tail_step=np.zeros(edge),
        products=np.zeros((window + 1, count)),
        energy=np.zeros(count),
        total=np.zeros(count),
        gram=np.zeros((window + 1, window + 1, count)),
        factor=np.zeros((size, size, count)),
        sums=np.zeros((window + 4, count)),
        small=np.zeros((size, size)),
        t_stat=np.zeros(count),
        lag=np.zeros(count),
        phi=np.zeros(count),
        hurst=np.zeros(count),
        sound=np.zeros(count),
    )


@compiled
def solve(s: Lanes, m: int, search: Search) -> None:
    """Fill the results of every lane, of residuals of m + 1 bars (Dickey and Fuller 1979; Said and Dickey 1984 for the lags)."""
    lanes = s.energy.shape[0]
    _gram_of_window(s, search.window)
    _hurst(s, m, search.window)
    for w in range(lanes):
        # Σ e_t d_t over all t telescopes, and Σ d² is the first sum of _hurst's.
        last, first = s.tail_level[0, w], s.head_level[0, w]
        before = s.energy[w] - last * last
        s.phi[w] = 1 + 0.5 * (last * last - first * first - s.sums[0, w]) / before
    if search.criterion == FIXED:
        for w in range(lanes):
            s.lag[w] = search.lags_max
            s.sound[w] = 1.0
    else:
        _search(s, m, search)
    for w in range(lanes):
        _refit(s, w, int(s.lag[w]), m, search)


@compiled
def _gram_of_window(s: Lanes, window: int) -> None:
    lanes = s.energy.shape[0]
    for i in range(window + 1):
        for w in range(lanes):
            s.gram[i, 0, w] = s.products[i, w]
        for j in range(1, i + 1):
            for w in range(lanes):
                s.gram[i, j, w] = (
                    s.gram[i - 1, j - 1, w]
                    + s.head_step[window - i, w] * s.head_step[window - j, w]
                    - s.tail_step[i - 1, w] * s.tail_step[j - 1, w]
                )


@compiled
def _hurst(s: Lanes, m: int, window: int) -> None:
    """Half the slope of ln E(e_{t+τ} - e_t)² on ln τ, τ = 1, 2, 4, 8, 16 (Mandelbrot and van Ness 1968). Leaves Σ d² in sums[0]."""
    lanes = s.energy.shape[0]
    block = s.sums[window + 1]
    for w in range(lanes):
        block[w] = 0.0
    at = 0
    for i in range(HURST_LAGS[-1]):
        for j in range(i):
            for w in range(lanes):
                block[w] += 2 * s.gram[i, j, w]
        for w in range(lanes):
            block[w] += s.gram[i, i, w]
        reach = i + 1
        if reach == HURST_LAGS[at]:
            spread = s.sums[at]
            for w in range(lanes):
                spread[w] = block[w]
            for t in range(i, window):
                for w in range(lanes):
                    leap = s.head_level[t + 1, w] - s.head_level[t + 1 - reach, w]
                    spread[w] += leap * leap
            at += 1
    middle = 0.0
    for reach in HURST_LAGS:
        middle += math.log(reach) / len(HURST_LAGS)
    below = 0.0
    for reach in HURST_LAGS:
        below += (math.log(reach) - middle) ** 2
    for w in range(lanes):
        slope = 0.0
        for index in range(len(HURST_LAGS)):
            reach = HURST_LAGS[index]
            slope += (math.log(reach) - middle) * math.log(s.sums[index, w] / (m + 1 - reach))
        s.hurst[w] = 0.5 * slope / below


@compiled
def _search(s: Lanes, m: int, search: Search) -> None:
    """The lag of the best nested model, all of them over t = lags_max … m-1; the smallest pivot's share in `sound`."""
    lanes = s.energy.shape[0]
    window, lags_max = search.window, search.lags_max
    last = lags_max + 1
    for i in range(lags_max + 1):
        # The window's matrix is the search's, but for the steps between the two starts.
        for j in range(i + 1):
            for t in range(lags_max, window):
                for w in range(lanes):
                    s.gram[i, j, w] += s.head_step[t - i, w] * s.head_step[t - j, w]
    level = s.sums[0]
    for w in range(lanes):
        level[w] = s.energy[w] - s.tail_level[0, w] * s.tail_level[0, w]
    for t in range(lags_max):
        for w in range(lanes):
            level[w] -= s.head_level[t, w] * s.head_level[t, w]
    for w in range(lanes):
        s.factor[0, 0, w] = level[w]
        s.factor[last, last, w] = s.gram[0, 0, w]
    for j in range(lags_max + 1):
        row = last if j == 0 else j
        for w in range(lanes):
            end, start = s.tail_level[j, w], s.head_level[lags_max - j, w]
            s.factor[row, 0, w] = 0.5 * (end * end - start * start - s.gram[j, j, w])
        for i in range(1, j + 1):
            for w in range(lanes):
                s.factor[row, 0, w] += s.gram[j, i, w]
    for i in range(1, lags_max + 1):
        for j in range(1, i + 1):
            for w in range(lanes):
                s.factor[i, j, w] = s.gram[i, j, w]
        for w in range(lanes):
            s.factor[last, i, w] = s.gram[i, 0, w]
    if search.constant:
        _centre(s, m, lags_max)
    for w in range(lanes):
        s.sound[w] = 1.0
    size = lags_max + 2
    held = s.sums[1]
    for c in range(size):
        for w in range(lanes):
            held[w] = s.factor[c, c, w]
        for k in range(c):
            for w in range(lanes):
                s.factor[c, c, w] -= s.factor[c, k, w] * s.factor[c, k, w]
        for w in range(lanes):
            pivot = s.factor[c, c, w]
            s.sound[w] = min(s.sound[w], pivot / held[w]) if c < last else s.sound[w]
            s.factor[c, c, w] = math.sqrt(pivot) if c < last else pivot
        _reduce_below(s.factor, c, size)
    _choose(s, m - lags_max, search)


@compiled
def _reduce_below(f: Floats, c: int, size: int) -> None:
    """Column c of the factor below its diagonal. Most of a test's time is spent here, and most of that in loading and storing:
    so two rows and four columns at a time."""
    lanes, whole = f.shape[2], c - c % 4
    for i in range(c + 1, size - 1, 2):
        for k in range(0, whole, 4):
            for w in range(lanes):
                f_0, f_1, f_2, f_3 = f[c, k, w], f[c, k + 1, w], f[c, k + 2, w], f[c, k + 3, w]
                f[i, c, w] -= f[i, k, w] * f_0 + f[i, k + 1, w] * f_1 + f[i, k + 2, w] * f_2 + f[i, k + 3, w] * f_3
                f[i + 1, c, w] -= (
                    f[i + 1, k, w] * f_0
                    + f[i + 1, k + 1, w] * f_1
                    + f[i + 1, k + 2, w] * f_2
                    + f[i + 1, k + 3, w] * f_3
                )
        for k in range(whole, c):
            for w in range(lanes):
                f[i, c, w] -= f[i, k, w] * f[c, k, w]
                f[i + 1, c, w] -= f[i + 1, k, w] * f[c, k, w]
    if (size - c - 1) % 2:
        for k in range(c):
            for w in range(lanes):
                f[size - 1, c, w] -= f[size - 1, k, w] * f[c, k, w]
    for i in range(c + 1, size):
        for w in range(lanes):
            f[i, c, w] /= f[c, c, w]


@compiled
def _centre(s: Lanes, m: int, lags_max: int) -> None:
    """Take the means out of the search's matrix: the same as an intercept in every model."""
    last = lags_max + 1
    for w in range(s.energy.shape[0]):
        level = _level_sum(s, w, lags_max)
        for i in range(lags_max + 2):
            at_i = level if i == 0 else _step_sum(s, w, lags_max, 0 if i == last else i)
            for j in range(i + 1):
                at_j = level if j == 0 else _step_sum(s, w, lags_max, 0 if j == last else j)
                s.factor[i, j, w] -= at_i * at_j / (m - lags_max)


@compiled
def _choose(s: Lanes, nobs: int, search: Search) -> None:
    """The lag by the criterion; the factor's last row holds z, its corner the residual sum of the largest model."""
    lanes, lags_max = s.energy.shape[0], search.lags_max
    last = lags_max + 1
    if search.criterion == T_STAT:
        for w in range(lanes):
            rest = s.factor[last, last, w]
            for lag in range(lags_max, -1, -1):
                z = s.factor[last, lag, w]
                s.lag[w] = lag
                if abs(z) >= T_STAT_STOP * math.sqrt(rest / (nobs - lag - 1 - search.constant)):
                    break
                rest += z * z
        return
    # n ln(rss) + price · columns is least where rss · exp(price · columns / n) is: one logarithm less a model.
    price = 2.0 if search.criterion == AIC else math.log(nobs)
    rss, best = s.sums[0], s.sums[1]
    for w in range(lanes):
        rss[w], best[w] = s.factor[last, last, w], math.inf
    for lag in range(lags_max, -1, -1):
        weight = math.exp(price * (lag - lags_max) / nobs)
        for w in range(lanes):
            score = rss[w] * weight
            is_better = score <= best[w]
            best[w] = score if is_better else best[w]
            s.lag[w] = lag if is_better else s.lag[w]
            rss[w] += s.factor[last, lag, w] * s.factor[last, lag, w]


@compiled
def _refit(s: Lanes, w: int, lag: int, m: int, search: Search) -> None:
    """The t-statistic of the level over t = lag … m-1: the chosen model on all the bars that it can use."""
    nobs = m - lag
    a = s.small
    size = lag + 2
    # Rows of `a`: lag 1 … lag p at 0 … p-1, the level at p, the step at p+1.
    for k in range(lag + 1):
        product = s.products[k, w]
        for t in range(lag, search.window):
            product += s.head_step[t, w] * s.head_step[t - k, w]
        s.sums[k, w] = product
    step_energy = s.sums[0, w]
    for i in range(1, lag + 1):
        a[lag + 1, i - 1] = s.sums[i, w]
        for j in range(1, i + 1):
            corner = s.sums[i - 1, w] if j == 1 else a[i - 2, j - 2]
            a[i - 1, j - 1] = (
                corner
                + s.head_step[lag - i, w] * s.head_step[lag - j, w]
                - s.tail_step[i - 1, w] * s.tail_step[j - 1, w]
            )
    a[lag + 1, lag + 1] = step_energy
    for j in range(lag + 1):
        end, start = s.tail_level[j, w], s.head_level[lag - j, w]
        own = step_energy if j == 0 else a[j - 1, j - 1]
        cross = 0.5 * (end * end - start * start - own)
        for i in range(1, j + 1):
            cross += a[j - 1, i - 1]
        if j == 0:
            a[lag + 1, lag] = cross
        else:
            a[lag, j - 1] = cross
    level = s.energy[w] - s.tail_level[0, w] ** 2
    for t in range(lag):
        level -= s.head_level[t, w] ** 2
    a[lag, lag] = level
    if search.constant:
        _centre_small(s, w, lag, nobs)
    sound = s.sound[w]
    for c in range(size):
        held = a[c, c]
        pivot = held
        for k in range(c):
            pivot -= a[c, k] * a[c, k]
        if c == size - 1:
            a[c, c] = pivot
            break
        sound = min(sound, pivot / held)
        root = math.sqrt(pivot)
        a[c, c] = root
        for i in range(c + 1, size):
            rest = a[i, c]
            for k in range(c):
                rest -= a[i, k] * a[c, k]
            a[i, c] = rest / root
    s.sound[w] = sound
    s.t_stat[w] = a[lag + 1, lag] / math.sqrt(a[lag + 1, lag + 1] / (nobs - lag - 1 - search.constant))


@compiled
def _centre_small(s: Lanes, w: int, lag: int, nobs: int) -> None:
    level = _level_sum(s, w, lag)
    for i in range(lag + 2):
        at_i = level if i == lag else _step_sum(s, w, lag, 0 if i == lag + 1 else i + 1)
        for j in range(i + 1):
            at_j = level if j == lag else _step_sum(s, w, lag, 0 if j == lag + 1 else j + 1)
            s.small[i, j] -= at_i * at_j / nobs


@compiled
def _level_sum(s: Lanes, w: int, start: int) -> float:
    """Σ e_t over t = start … m-1."""
    level: float = s.total[w] - s.tail_level[0, w]
    for t in range(start):
        level -= s.head_level[t, w]
    return level


@compiled
def _step_sum(s: Lanes, w: int, start: int, back: int) -> float:
    """Σ d_{t-back} over t = start … m-1."""
    steps: float = s.tail_level[back, w] - s.head_level[start - back, w]
    return steps


@compiled
def schwert(n: int, trends: int) -> int:
    """The largest lag of n bars, in bars: 12 · (n / 100)^¼ (Schwert 1989), but at most half of them, as statsmodels has it."""
    largest: int = math.ceil(12.0 * (n / 100.0) ** 0.25)
    return min(n // 2 - trends - 1, largest)
