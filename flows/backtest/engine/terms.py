"""On what terms a backtest trades: size, costs, limits. Live's settings, as far as they matter without an exchange."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from domain.guards import Limits
from domain.instruments import Instrument
from domain.pairs import PairConfig
from domain.symbols import Symbol
from domain.units import SECOND_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`half_spread` is for bars; quotes bring their own. Rates are fractions of the notional, or of the price."""

    lookback_bars: int
    bar_ms: int | None = None  # Of the windows of pairs without a size of their own; None: the market's bars.
    notional_usd: Decimal
    hedge_error_max: float
    taker_fee_rate: float
    half_spread: float
    limits: Limits
    slippage: float = 0.0
    latency_bars: int = 1  # Moments of the timeline between a decision and its fill.
    latency_ms: int = 0
    leverage: int = 1
    instruments: Mapping[Symbol, Instrument] = field(default_factory=dict)

    def instrument(self, symbol: Symbol) -> Instrument:
        return self.instruments.get(symbol) or unbounded(symbol)

    def bar_ms_of(self, pair: PairConfig) -> int | None:
        """Of the bars that the pair's window is made of; None: the market's."""
        return self.bar_ms if pair.bar_seconds is None else pair.bar_seconds * SECOND_MS

    def with_fees(self, scale: float) -> "Terms":
        """The same with so many times the fee."""
        return replace(self, taker_fee_rate=self.taker_fee_rate * scale)


def limits_of(*, gross_notional_usd_max: Decimal, daily_loss_usd_max: Decimal, min_edge_ratio: float) -> Limits:
    """A quote is never stale here."""
    return Limits(
        quote_age_ms_max=0,
        gross_notional_usd_max=gross_notional_usd_max,
        daily_loss_usd_max=daily_loss_usd_max,
        min_edge_ratio=min_edge_ratio,
    )


@functools.cache
def unbounded(symbol: Symbol) -> Instrument:
    """A contract whose rules nobody told us: fine steps, no minimum."""
    small, large = Decimal("0.00000001"), Decimal("1e15")
    return Instrument(
        symbol=symbol,
        tick=small,
        step=small,
        market_step=small,
        quantity_min=small,
        quantity_max=large,
        market_quantity_min=small,
        market_quantity_max=large,
        notional_min_usd=Decimal(0),
        percent_price_up=Decimal(2),
        percent_price_down=Decimal("0.5"),
        is_trading=True,
    )
