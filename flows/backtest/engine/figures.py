"""What a list of trades adds up to: sums, the curve of the account at every bar's close, drawdown, turnover, exposure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from domain.symbols import Symbol
from domain.units import DAY_MS, HOUR_MS
from flows.backtest.engine.market import Floats, Market, Times, carried
from flows.backtest.engine.trades import BacktestTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """USD; net = gross − fees + funding. `turnover_usd`: everything traded, both legs, both ways."""

    trades: int
    wins: int
    stops: int
    gross_usd: float
    fees_usd: float
    funding_usd: float
    turnover_usd: float
    expected_edge_usd: float
    hours_held: float  # Of all trades together.

    @property
    def net_usd(self) -> float:
        return self.gross_usd - self.fees_usd + self.funding_usd

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.trades if self.trades else None

    @property
    def average_hold_hours(self) -> float | None:
        return self.hours_held / self.trades if self.trades else None

    @property
    def net_bps(self) -> float | None:
        """Of the turnover."""
        return 1e4 * self.net_usd / self.turnover_usd if self.turnover_usd else None


def sums_of(trades: Sequence[BacktestTrade]) -> Sums:
    return Sums(
        trades=len(trades),
        wins=sum(trade.net_usd > 0 for trade in trades),
        stops=sum(trade.exit_reason == "stopped" for trade in trades),
        gross_usd=sum(trade.gross_usd for trade in trades),
        fees_usd=sum(trade.fees_usd for trade in trades),
        funding_usd=sum(trade.funding_usd for trade in trades),
        turnover_usd=sum(trade.turnover_usd for trade in trades),
        expected_edge_usd=sum(trade.expected_edge_usd for trade in trades),
        hours_held=sum(trade.closed_ms - trade.opened_ms for trade in trades) / HOUR_MS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The account at the close of every bar, starting at 0: what is realised and what open trades stand at, after fees and funding."""

    at_ms: Times
    equity_usd: Floats
    exposure_usd: Floats  # Both legs of every open trade, at the bar's close.

    @property
    def drawdown_usd(self) -> Floats:
        """How far below its highest point so far, positive."""
        peaks = np.maximum.accumulate(np.maximum(self.equity_usd, 0.0))
        found: Floats = peaks - self.equity_usd
        return found

    @property
    def drawdown_usd_max(self) -> float:
        return float(self.drawdown_usd.max(initial=0.0))

    @property
    def exposed_share(self) -> float:
        """Of the time."""
        return float((self.exposure_usd > 0).mean()) if self.exposure_usd.size else 0.0

    @property
    def exposure_usd_average(self) -> float:
        return float(self.exposure_usd.mean()) if self.exposure_usd.size else 0.0

    @property
    def exposure_usd_max(self) -> float:
        return float(self.exposure_usd.max(initial=0.0))


def curve_of(market: Market, trades: Sequence[BacktestTrade], *, fee_rate: float, start_ms: int, end_ms: int) -> Curve:
    """Over the bars that closed in (start, end]. A leg without a bar stands at the last price seen."""
    bars = market.bars
    first, last = bars.place_of(start_ms), bars.place_of(end_ms)
    closed_ms = bars.open_ms[first:last] + bars.step_ms
    steps = np.zeros(closed_ms.size + 1)
    equity, exposure = np.zeros(closed_ms.size), np.zeros(closed_ms.size)
    closes: dict[Symbol, Floats] = {}
    for trade in trades:
        start, stop = np.searchsorted(closed_ms, (trade.opened_ms, trade.closed_ms), side="left").tolist()
        steps[stop] += trade.net_usd
        if stop <= start:
            continue
        span = slice(start, stop)
        sign_a = 1 if trade.side.value == "BUY" else -1
        legs = (
            (trade.symbol_a, sign_a * trade.quantity_a, trade.entry_price_a),
            (trade.symbol_b, -sign_a * trade.quantity_b, trade.entry_price_b),
        )
        equity[span] -= fee_rate * trade.entry_usd
        for symbol, signed, entry_price in legs:
            if symbol not in closes:
                column = bars.closes[:, bars.symbols.index(symbol)]
                closes[symbol] = carried(column, bars.count)[first:last]
            prices = closes[symbol][span]
            equity[span] += signed * np.nan_to_num(prices - entry_price)
            exposure[span] += abs(signed) * np.nan_to_num(prices)
            funding = market.funding_of(symbol)
            if funding.at_ms.size:
                paid = np.concatenate(([0.0], funding.paid))
                places = np.searchsorted(funding.at_ms, closed_ms[span], side="right")
                before = int(np.searchsorted(funding.at_ms, trade.opened_ms, side="right"))
                equity[span] -= signed * (paid[places] - paid[before])
    return Curve(at_ms=closed_ms, equity_usd=equity + np.cumsum(steps)[:-1], exposure_usd=exposure)


def turnover_by_day(trades: Sequence[BacktestTrade]) -> Mapping[int, float]:
    """USD traded on each day (UTC, its first millisecond), in order; days without a trade are not in it."""
    found: Counter[int] = Counter()
    for trade in trades:
        found[trade.opened_ms // DAY_MS * DAY_MS] += trade.entry_usd  # type: ignore[assignment]
        found[trade.closed_ms // DAY_MS * DAY_MS] += trade.exit_usd  # type: ignore[assignment]
    return dict(sorted(found.items()))


def net_by_day(trades: Sequence[BacktestTrade]) -> Mapping[int, float]:
    """USD earned by the trades that closed on each day (UTC, its first millisecond), in order."""
    found: Counter[int] = Counter()
    for trade in trades:
        found[trade.closed_ms // DAY_MS * DAY_MS] += trade.net_usd  # type: ignore[assignment]
    return dict(sorted(found.items()))


def drawdown(profits: Sequence[float]) -> float:
    """The deepest fall of the running sum below its highest point so far, starting at 0."""
    level = peak = deepest = 0.0
    for profit in profits:
        level += profit
        peak = max(peak, level)
        deepest = max(deepest, peak - level)
    return deepest
