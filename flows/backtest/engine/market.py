"""What a backtest is told of the market: bars of every symbol on one grid, the quotes between them if there are any, and funding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from domain.edge import FUNDING_INTERVAL_HOURS_DEFAULT, FundingTerms
from domain.klines import FundingRate
from domain.statistics.panel import PricePanel
from domain.symbols import Symbol
from domain.units import HOUR_MS

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Opens and closes (bars, symbols), oldest first; NaN where a symbol has no bar. Bar `i` opens at (first_bar + i) · step_ms.

    Without `opens` an order is filled at the next bar's close; with quotes, at a quote.
    """

    symbols: tuple[Symbol, ...]
    first_bar: int
    step_ms: int
    closes: Floats
    opens: Floats | None = None

    @property
    def count(self) -> int:
        return int(self.closes.shape[0])

    @property
    def open_ms(self) -> Times:
        return (self.first_bar + np.arange(self.count, dtype=np.int64)) * self.step_ms

    @property
    def start_ms(self) -> int:
        return self.first_bar * self.step_ms

    @property
    def end_ms(self) -> int:
        """When the last bar closes."""
        return (self.first_bar + self.count) * self.step_ms

    def place_of(self, time_ms: int) -> int:
        """How many bars have closed by this moment: the place of the bar that is open then."""
        return min(max(time_ms // self.step_ms - self.first_bar, 0), self.count)

    def of_size(self, step_ms: int) -> "Bars":
        """The closes of longer bars, each the last one seen in it. `step_ms`: a multiple of this grid's."""
        if step_ms == self.step_ms:
            return self
        per_bar, symbols = step_ms // self.step_ms, len(self.symbols)
        before = self.first_bar % per_bar
        after = -(before + self.count) % per_bar
        whole = np.pad(self.closes, ((before, after), (0, 0)), constant_values=np.nan).reshape(-1, per_bar, symbols)
        newest = per_bar - 1 - np.isfinite(whole)[:, ::-1].argmax(axis=1)
        closes = np.take_along_axis(whole, newest[:, None, :], axis=1)[:, 0, :]
        return Bars(symbols=self.symbols, first_bar=self.first_bar // per_bar, step_ms=step_ms, closes=closes)

    def panel(self, start_ms: int, end_ms: int) -> PricePanel:
        """The closes of the bars that opened at or after `start_ms` and closed by `end_ms`: all that may be known then."""
        first = self.place_of(start_ms + self.step_ms - 1)
        last = self.place_of(end_ms)
        return PricePanel(
            symbols=tuple(self.symbols),
            prices=np.ascontiguousarray(self.closes[first:last]),
            open_ms=self.open_ms[first:last],
            bar_seconds=self.step_ms // 1000,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """Every quote of every symbol in order of time: `place` is the symbol's place in `symbols`."""

    symbols: tuple[Symbol, ...]
    at_ms: Times
    place: NDArray[np.int64]
    bid: Floats
    ask: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """One symbol's settlements. `paid` is what one unit held long has paid up to and with each of them, in USD."""

    at_ms: Times
    rates: Floats
    paid: Floats

    @classmethod
    def of(cls, rates: Sequence[FundingRate], bars: Bars, symbol: Symbol) -> Self:
        """Settled at the last close before it; where there is none, nothing is charged."""
        at_ms = np.array([rate.at_ms for rate in rates], dtype=np.int64)
        values = np.array([rate.rate for rate in rates], dtype=np.float64)
        last = at_ms // bars.step_ms - bars.first_bar - 1
        inside = (last >= 0) & (last < bars.count)
        prices = np.zeros(at_ms.size)
        if symbol in bars.symbols:
            column = carried(bars.closes[:, bars.symbols.index(symbol)], bars.count)
            prices[inside] = column[last[inside]]
        paid = np.cumsum(np.where(np.isfinite(prices), prices, 0.0) * values)
        return cls(at_ms=at_ms, rates=values, paid=paid)

    def between(self, opened_ms: int, closed_ms: int) -> float:
        """What one unit held long paid in (opened, closed]; negative: received."""
        if not self.at_ms.size:
            return 0.0
        first, last = self.at_ms.searchsorted((opened_ms, closed_ms), side="right").tolist()
        if first == last:
            return 0.0
        return float(self.paid[last - 1]) - (float(self.paid[first - 1]) if first else 0.0)

    def terms_at(self, now_ms: int) -> FundingTerms:
        """The last settled rate stands for the predicted one, which no archive keeps."""
        return self._terms(int(self.at_ms.searchsorted(now_ms, side="right")) if self.at_ms.size else 0)

    def _terms(self, place: int) -> FundingTerms:
        if place == 0:
            return FundingTerms(0.0)
        if place == 1:
            return FundingTerms(float(self.rates[0]), FUNDING_INTERVAL_HOURS_DEFAULT)
        hours = (int(self.at_ms[place - 1]) - int(self.at_ms[place - 2])) / HOUR_MS
        return FundingTerms(float(self.rates[place - 1]), max(1.0, round(hours)))

    def rates_per_hour(self, times: Times) -> tuple[Floats, Floats]:
        """For every moment the rate that `terms_at` would tell, and its interval in hours."""
        terms = [self._terms(place) for place in range(self.at_ms.size + 1)]
        places = np.searchsorted(self.at_ms, times, side="right")
        rates = np.array([term.rate for term in terms])
        hours = np.array([term.interval_hours for term in terms])
        return rates[places], hours[places]


NO_FUNDING = Funding(at_ms=np.empty(0, dtype=np.int64), rates=np.empty(0), paid=np.empty(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """All of it. Symbols without funding pay none."""

    bars: Bars
    quotes: Quotes | None = None
    funding: Mapping[Symbol, Funding] = field(default_factory=dict)

    def funding_of(self, symbol: Symbol) -> Funding:
        return self.funding.get(symbol, NO_FUNDING)


def with_funding(bars: Bars, quotes: Quotes | None, rates: Mapping[Symbol, Sequence[FundingRate]]) -> Market:
    """A market whose settlements are priced by its bars."""
    funding = {symbol: Funding.of(listed, bars, symbol) for symbol, listed in rates.items() if listed}
    return Market(bars=bars, quotes=quotes, funding=funding)


def carried(closes: Floats, bars_max: int) -> Floats:
    """The closes, a missing one standing as the last one seen for at most `bars_max` bars, as live keeps a silent leg's mid."""
    missing = np.isnan(closes)
    if not missing.any():
        return closes
    seen = np.maximum.accumulate(np.where(missing, -1, np.arange(closes.size)))
    age = np.arange(closes.size) - seen
    usable = (seen >= 0) & (age <= bars_max)
    return np.where(usable, closes[np.maximum(seen, 0)], np.nan)


def bars_of_quotes(quotes: Quotes, step_ms: int) -> Bars:
    """Closing mids by event time: of each bar the last quote in it; NaN where a symbol has none in that bar."""
    first_bar = int(quotes.at_ms[0]) // step_ms
    count = int(quotes.at_ms[-1]) // step_ms - first_bar + 1
    closes = np.full((count, len(quotes.symbols)), np.nan)
    rows = quotes.at_ms // step_ms - first_bar
    # In order of time, so that the last assignment to a cell is its last quote.
    edges = np.flatnonzero(np.diff(rows)) + 1
    mids = (quotes.bid + quotes.ask) * 0.5
    for start, stop in pairwise((0, *edges.tolist(), rows.size)):
        closes[rows[start], quotes.place[start:stop]] = mids[start:stop]
    return Bars(symbols=quotes.symbols, first_bar=first_bar, step_ms=step_ms, closes=closes)
