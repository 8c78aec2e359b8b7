"""Closed bars of each leg, by the exchange's event time: a grid for each size of bar, and on it one ring of closes a symbol.

A ring position is the bar's number modulo the length, so two legs' rings are aligned by themselves, a new hedge ratio needs
no refetch, and pairs that share a symbol share its closes. NaN marks a bar we have not seen; it is repaired from klines.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.quotes import Quote
from domain.symbols import Symbol
from domain.units import SECOND_MS

CARRIED_BARS_MAX = 3
"""A leg without a tick keeps its mid for so many bars: the exchange pushes every change, so no push means no change."""

GRACE_MS_MAX = 2_000
"""How far (event time) others may be past a boundary before a leg that has not ticked since is closed with them."""

NEVER_MS = -1


class LegBars:
    """One symbol on one grid: newest mid, and the closes of its last bars. Open to its calculator; everybody else reads."""

    __slots__ = (
        "calm_high",
        "calm_low",
        "carried",
        "closes",
        "due_ms",
        "event_ms",
        "grid",
        "longer",
        "mid",
        "newest",
        "quote",
        "rows_a",
        "rows_b",
        "stale",
        "symbol",
    )

    def __init__(self, symbol: Symbol, grid: "BarGrid") -> None:
        self.symbol = symbol
        self.grid = grid
        self.longer: LegBars | None = None  # The same symbol on the grid with the next longer bars.
        self.closes: NDArray[np.float64] = np.full(grid.size, math.nan)
        self.newest: int | None = None  # Number of the last closed bar: open time divided by the bar's length.
        self.carried = 0  # Bars closed in a row without a tick.
        self.mid = math.nan
        # Strictly within this range of mids no pair of this symbol can leave its band; empty: look at every tick.
        self.calm_low, self.calm_high = math.inf, -math.inf
        self.quote: Quote | None = None
        self.event_ms = NEVER_MS
        self.due_ms = NEVER_MS  # A tick at or after this event time has a boundary to look at first.
        self.stale = False
        # What a tick compares, per pair in which this is leg a or b: (low, high, hedge ratio, other leg, slot).
        self.rows_a: list[Row] = []
        self.rows_b: list[Row] = []

    @property
    def is_whole(self) -> bool:
        """True when no bar of the window is missing."""
        return self.newest is not None and not bool(np.isnan(self.closes).any())

    def take_quote_of(self, other: "LegBars") -> None:
        """Begin with what the same symbol's newest quote says on another grid: an open trade need not wait for the next one."""
        self.quote, self.mid, self.event_ms, self.stale = other.quote, other.mid, other.event_ms, other.stale


Row = tuple[float, float, float, LegBars, Any]


class BarGrid:
    """The bars of one size, of every leg that has a pair with them. It knows nothing of other grids.

    Time is the newest event time that was believed; it decides when a bar is over for everybody.
    """

    def __init__(self, *, bar_seconds: int, size: int) -> None:
        self.bar_seconds = bar_seconds
        self.bar_ms = bar_seconds * SECOND_MS
        self.size = size
        self.grace_ms = min(GRACE_MS_MAX, self.bar_ms // 10)
        self.legs: dict[Symbol, LegBars] = {}
        self._bar: int | None = None  # The bar the market is in.
        self._suspect: int | None = None  # A bar far away that one tick claimed to be in.

    @property
    def open_ms(self) -> int | None:
        """Open time of the bar the market is in; None before the first tick."""
        return None if self._bar is None else self._bar * self.bar_ms

    def leg(self, symbol: Symbol) -> LegBars:
        """The symbol's bars, made when new."""
        found = self.legs.get(symbol)
        if found is None:
            found = self.legs[symbol] = LegBars(symbol, self)
        return found

    def drop(self, symbol: Symbol) -> None:
        self.legs.pop(symbol, None)

    def interrupt(self, symbols: Iterable[Symbol]) -> None:
        """The feed of these symbols broke: their quotes are not quotes until the next one comes."""
        for symbol in symbols:
            leg = self.legs.get(symbol)
            if leg is not None:
                leg.mid = math.nan
                leg.calm_high = -math.inf
                leg.quote = None
                leg.due_ms = NEVER_MS
        self._suspect = None

    def pass_time(self, leg: LegBars, event_ms: int) -> tuple[bool, list[LegBars]]:
        """A tick of `leg` is due: close what its event time closes.

        Return whether the tick is to be believed, and the legs that closed a bar.
        """
        bar = event_ms // self.bar_ms
        if self._bar is None:
            self._bar = bar
        if bar > self._bar + CARRIED_BARS_MAX or bar < self._bar - CARRIED_BARS_MAX:
            return self._jump(bar)
        self._suspect = None
        self._bar = max(self._bar, bar)
        closed = [leg] if self._close_up_to(leg, bar - 1) else []
        start_ms = self._bar * self.bar_ms
        if event_ms >= start_ms + self.grace_ms:
            for other in self.legs.values():
                if other is not leg and self._close_up_to(other, self._bar - 1):
                    closed.append(other)
                other.due_ms = start_ms + self.bar_ms
            leg.due_ms = start_ms + self.bar_ms
        elif bar < self._bar:
            leg.due_ms = start_ms
        else:
            leg.due_ms = start_ms + self.grace_ms
        return True, closed

    def _jump(self, bar: int) -> tuple[bool, list[LegBars]]:
        """One tick far from everybody's time is not believed; a second one is: the market was away, or was restarted."""
        if self._suspect is None or abs(self._suspect - bar) > 1:
            self._suspect = bar
            return False, []
        self._suspect = None
        self._bar = bar
        for leg in self.legs.values():
            leg.closes.fill(math.nan)
            leg.newest = bar - 1
            leg.carried = 0
            leg.mid = math.nan
            leg.calm_high = -math.inf
            leg.quote = None
            leg.event_ms = leg.due_ms = NEVER_MS
        return True, list(self.legs.values())

    def _close_up_to(self, leg: LegBars, last: int) -> bool:
        """Close the leg's bars up to number `last` at its newest mid; NaN where that is not known to be the price."""
        if leg.newest is None:
            leg.newest = last  # The bar before the first tick is not ours to close.
            return False
        first = leg.newest + 1
        if last < first:
            return False
        for bar in range(max(first, last - self.size + 1), last + 1):
            ticked = leg.event_ms >= bar * self.bar_ms
            leg.carried = 0 if ticked else leg.carried + 1
            price = leg.mid if leg.carried <= CARRIED_BARS_MAX else math.nan
            leg.closes[bar % self.size] = price
        leg.newest = last
        return True

    def load(self, leg: LegBars, rows: Sequence[tuple[int, float]]) -> bool:
        """Fill in closes from klines, (open_ms, close) ascending, closed bars only. Bars that we saw ourselves stay.

        A kline closes at the last trade and ours at the mid; the difference, at most half a tick's spread, is accepted.
        Return whether the window is whole now.
        """
        usable = [(open_ms // self.bar_ms, close) for open_ms, close in rows if math.isfinite(close) and close > 0]
        if not usable:
            return leg.is_whole
        last = usable[-1][0]
        if leg.newest is None:
            leg.newest = last
        for bar in range(leg.newest + 1, last + 1):
            leg.closes[bar % self.size] = math.nan
        leg.newest = max(leg.newest, last)
        for bar, close in usable:
            position = bar % self.size
            if bar > leg.newest - self.size and math.isnan(leg.closes[position]):
                leg.closes[position] = close
        return leg.is_whole

    def torn(self) -> Iterator[LegBars]:
        """Legs whose window misses a bar."""
        return (leg for leg in self.legs.values() if not leg.is_whole)
