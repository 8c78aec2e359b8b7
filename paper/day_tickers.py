"""What happened in the last 24 hours, per contract."""

from dataclasses import dataclass
from decimal import Decimal

from domain.units import HOUR_MS
from paper.market import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTicker:
    """24 hours of one contract, in hourly steps."""

    open: Decimal
    high: Decimal
    low: Decimal
    last: Decimal
    last_quantity: Decimal
    volume: Decimal
    quote_volume: Decimal
    average: Decimal
    trades: int
    open_ms: int
    close_ms: int

    @property
    def change(self) -> Decimal:
        """Last minus open."""
        return self.last - self.open

    @property
    def change_percent(self) -> Decimal:
        """The change in percent of the open."""
        return self.change / self.open * 100


def day_ticker(market: Market, symbol: str) -> DayTicker:
    """Statistics of the last 24 hours. Raises: KeyError for an unknown symbol."""
    bars = market.klines(symbol, HOUR_MS, start_ms=None, end_ms=None, limit=24)
    volume = sum((bar.volume for bar in bars), Decimal(0))
    quote_volume = sum((bar.quote_volume for bar in bars), Decimal(0))
    last = bars[-1].close
    return DayTicker(
        open=bars[0].open,
        high=max(bar.high for bar in bars),
        low=min(bar.low for bar in bars),
        last=last,
        last_quantity=market.listings[symbol].quantity_min,
        volume=volume,
        quote_volume=quote_volume,
        average=(quote_volume / volume).quantize(last) if volume else last,
        trades=sum(bar.trades for bar in bars),
        open_ms=bars[0].open_ms,
        close_ms=market.now_ms(),
    )
