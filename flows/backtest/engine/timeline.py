"""One pair's moments of judgment, in order of time: a bar's close, or a quote of either leg."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.symbols import Symbol
from flows.backtest.engine.market import Bars, Floats, Quotes, Times, carried
from runner.signals.bars import CARRIED_BARS_MAX, GRACE_MS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """At `at_ms[i]` the pair is judged at mids `price_…[i]`, by the statistics of the bars before place `bar[i]`.

    What is to be filled at moment i is filled at `fill_ms[i]`, at `fill_…[i]` and half its spread. `closes_…`: of the whole grid of
    the bars that the pair's statistics are made of, which may be longer than those that it is judged at.
    `rows`: of a moment the place of its quote among all quotes, and whether it is one of leg b; None for bars.
    """

    at_ms: Times
    fill_ms: Times
    laid_ms: Times  # When live last looked at its clock for this pair: a time stop is noticed when a bar closes.
    bar: NDArray[np.int64]
    price_a: Floats
    price_b: Floats
    half_a: Floats  # Half the spread, in the price's own units.
    half_b: Floats
    fill_a: Floats
    fill_b: Floats
    fill_half_a: Floats
    fill_half_b: Floats
    closes_a: Floats
    closes_b: Floats
    first_bar: int
    step_ms: int
    apart_ms: int  # Between two moments there are at least so many milliseconds.
    rows: tuple[NDArray[np.int64], NDArray[np.bool_]] | None = None

    @property
    def count(self) -> int:
        return int(self.at_ms.size)

    def first_after(self, time_ms: int) -> int:
        """The first moment later than this one."""
        return int(self.at_ms.searchsorted(time_ms, side="right"))

    def fill_place(self, place: int, *, latency_bars: int, latency_ms: int) -> int:
        """Where a decision of moment `place` is filled; `count` when the timeline ends before."""
        due_ms, soonest = int(self.at_ms[place]) + latency_ms, place + latency_bars
        if soonest < self.count and int(self.fill_ms[soonest]) >= due_ms:
            return soonest  # As nearly always.
        return min(max(soonest, int(self.fill_ms.searchsorted(due_ms, side="left"))), self.count)


def timeline_of_bars(
    bars: Bars, symbol_a: Symbol, symbol_b: Symbol, *, half_spread: float, window: Bars | None = None
) -> Timeline:
    """Judged at closes, filled at opens, or at closes where no opens are known; a bar that one leg lacks is passed over.

    `window`: the same market in longer bars (`Bars.of_size`), for the statistics; None: they are of `bars`, too.
    """
    window = window or bars
    per_bar = window.step_ms // bars.step_ms
    a, b = bars.symbols.index(symbol_a), bars.symbols.index(symbol_b)
    opens = bars.closes if bars.opens is None else bars.opens
    # Contiguous copies: a column of the grid is slow to go through, and it is gone through often.
    closes_a, closes_b, opens_a, opens_b = (
        np.ascontiguousarray(grid[:, column]) for grid in (bars.closes, opens) for column in (a, b)
    )
    usable = np.isfinite(opens_a) & np.isfinite(opens_b) & np.isfinite(closes_a) & np.isfinite(closes_b)
    places = np.flatnonzero(usable)
    opened = (bars.first_bar + places) * bars.step_ms
    price_a, price_b = closes_a[places], closes_b[places]
    fill_a, fill_b = opens_a[places], opens_b[places]
    return Timeline(
        at_ms=opened + bars.step_ms,
        fill_ms=opened + (bars.step_ms if bars.opens is None else 0),
        laid_ms=(opened + bars.step_ms) // window.step_ms * window.step_ms,
        bar=(bars.first_bar + places) // per_bar - window.first_bar,
        price_a=price_a,
        price_b=price_b,
        half_a=price_a * half_spread,
        half_b=price_b * half_spread,
        fill_a=fill_a,
        fill_b=fill_b,
        fill_half_a=fill_a * half_spread,
        fill_half_b=fill_b * half_spread,
        closes_a=np.ascontiguousarray(carried(window.closes[:, a], CARRIED_BARS_MAX)),
        closes_b=np.ascontiguousarray(carried(window.closes[:, b], CARRIED_BARS_MAX)),
        first_bar=window.first_bar,
        step_ms=window.step_ms,
        apart_ms=bars.step_ms,
    )


def timeline_of_quotes(quotes: Quotes, bars: Bars, symbol_a: Symbol, symbol_b: Symbol) -> Timeline:
    """Judged and filled at every quote of either leg, by the bars that both legs have closed by then, as live closes them."""
    a, b = quotes.symbols.index(symbol_a), quotes.symbols.index(symbol_b)
    of_pair = np.flatnonzero((quotes.place == a) | (quotes.place == b))
    last_a, last_b = (_newest(of_pair, quotes.place[of_pair] == place) for place in (a, b))
    known = (last_a >= 0) & (last_b >= 0)
    of_pair, last_a, last_b = of_pair[known], last_a[known], last_b[known]
    closed = np.minimum(_closed_by(quotes, bars, a), _closed_by(quotes, bars, b))
    laid = _newest(np.arange(closed.size), np.diff(closed, prepend=-1) > 0)
    at_ms = quotes.at_ms[of_pair]
    price_a, price_b = ((quotes.bid[last] + quotes.ask[last]) * 0.5 for last in (last_a, last_b))
    half_a, half_b = ((quotes.ask[last] - quotes.bid[last]) * 0.5 for last in (last_a, last_b))
    return Timeline(
        at_ms=at_ms,
        fill_ms=at_ms,
        laid_ms=quotes.at_ms[laid][of_pair],
        bar=closed[of_pair],
        price_a=price_a,
        price_b=price_b,
        half_a=half_a,
        half_b=half_b,
        fill_a=price_a,
        fill_b=price_b,
        fill_half_a=half_a,
        fill_half_b=half_b,
        closes_a=np.ascontiguousarray(carried(bars.closes[:, a], CARRIED_BARS_MAX)),
        closes_b=np.ascontiguousarray(carried(bars.closes[:, b], CARRIED_BARS_MAX)),
        first_bar=bars.first_bar,
        step_ms=bars.step_ms,
        apart_ms=0,
        rows=(of_pair, quotes.place[of_pair] == b),
    )


def _newest(rows: NDArray[np.int64], mine: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row the newest one up to it that is mine; −1 before the first."""
    return np.maximum.accumulate(np.where(mine, rows, -1))


def _closed_by(quotes: Quotes, bars: Bars, place: int) -> NDArray[np.int64]:
    """How many bars of the grid this symbol has closed once each quote has been heard.

    A bar is closed by the symbol's own first quote after it, or by anybody's that is later by more than the grace live gives.
    """
    grace_ms = min(GRACE_MS_MAX, bars.step_ms // 10)
    bar = quotes.at_ms // bars.step_ms - bars.first_bar
    late = quotes.at_ms >= (bars.first_bar + bar) * bars.step_ms + grace_ms
    return np.maximum.accumulate(np.where(late | (quotes.place == place), bar, 0))
