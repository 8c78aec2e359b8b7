"""A backtest's trades: one that is open, and one that is over."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import msgspec

from domain.decide import HeldTrade
from domain.edge import Edge
from domain.orders import LegName
from domain.pairs import PairConfig, PairSide, SignalType
from domain.sizing import Sized
from domain.spread import SpreadMoments
from domain.symbols import PairId, Symbol
from flows.backtest.engine.market import Market
from flows.backtest.engine.timeline import Timeline

END_OF_DATA = "end_of_data"


class BacktestTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One round trip. USD throughout; net = gross − fees + funding. Prices are fills, half a spread and slippage included."""

    trade_id: str
    pair_id: PairId
    symbol_a: Symbol
    symbol_b: Symbol
    side: PairSide
    hedge_ratio: float
    decided_ms: int
    opened_ms: int
    closed_ms: int
    entry_z: float
    exit_z: float
    exit_reason: str
    quantity_a: float
    quantity_b: float
    entry_price_a: float
    entry_price_b: float
    exit_price_a: float
    exit_price_b: float
    gross_usd: float
    fees_usd: float
    funding_usd: float
    expected_edge_usd: float

    @property
    def net_usd(self) -> float:
        return self.gross_usd - self.fees_usd + self.funding_usd

    @property
    def turnover_usd(self) -> float:
        """Everything traded, both legs, both ways."""
        return self.entry_usd + self.exit_usd

    @property
    def entry_usd(self) -> float:
        return self.quantity_a * self.entry_price_a + self.quantity_b * self.entry_price_b

    @property
    def exit_usd(self) -> float:
        return self.quantity_a * self.exit_price_a + self.quantity_b * self.exit_price_b


class Judgment(NamedTuple):
    """What one moment of a timeline called for, by which spread and statistics."""

    place: int
    at_ms: int
    signal_type: SignalType
    spread: float
    statistics: SpreadMoments

    @property
    def z_score(self) -> float:
        return self.statistics.z_score(self.spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One decision, and what became of it: empty for what was acted on, else a denial code."""

    pair_id: PairId
    signal_type: SignalType
    at_ms: int
    z_score: float
    denial: str


class OpenTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry that was approved, and from its fill on the trade. `signed` are base units of legs a and b, a short one negative."""

    pair: PairConfig
    held: HeldTrade
    edge: Edge
    quantities: tuple[Decimal, Decimal]
    signs: tuple[int, int]  # +1 for a leg that is held long.
    units: tuple[float, float]
    signed: tuple[float, float]
    entry_z: float
    decided_ms: int
    opened_ms: int = 0
    price_a: float = 0.0
    price_b: float = 0.0
    entry_usd: float = 0.0

    @classmethod
    def of(
        cls, *, pair: PairConfig, held: HeldTrade, sized: Sized, edge: Edge, entry_z: float, decided_ms: int
    ) -> "OpenTrade":
        """Not filled yet."""
        signs = held.side.side_of(LegName.A).sign, held.side.side_of(LegName.B).sign
        units = float(sized.quantity_a), float(sized.quantity_b)
        return cls(
            pair=pair,
            held=held,
            edge=edge,
            quantities=(sized.quantity_a, sized.quantity_b),
            signs=signs,
            units=units,
            signed=(signs[0] * units[0], signs[1] * units[1]),
            entry_z=entry_z,
            decided_ms=decided_ms,
        )

    def filled(self, opened_ms: int, price_a: float, price_b: float) -> "OpenTrade":
        entry_usd = self.notional_at(price_a, price_b)
        return msgspec.structs.replace(self, opened_ms=opened_ms, price_a=price_a, price_b=price_b, entry_usd=entry_usd)

    def gross_at(self, price_a: float, price_b: float) -> float:
        """What the legs have earned at these prices, in USD, before fees and funding."""
        signed_a, signed_b = self.signed
        return signed_a * (price_a - self.price_a) + signed_b * (price_b - self.price_b)

    def notional_at(self, price_a: float, price_b: float) -> float:
        units_a, units_b = self.units
        return units_a * price_a + units_b * price_b

    def funding_until(self, market: Market, now_ms: int) -> float:
        """Settlements since the opening, in USD: negative is paid."""
        signed_a, signed_b = self.signed
        paid = signed_a * market.funding_of(self.pair.leg_a).between(self.opened_ms, now_ms)
        paid += signed_b * market.funding_of(self.pair.leg_b).between(self.opened_ms, now_ms)
        return -paid

    def closed(
        self,
        market: Market,
        *,
        fee_rate: float,
        closed_ms: int,
        price_a: float,
        price_b: float,
        reason: str,
        exit_z: float,
    ) -> BacktestTrade:
        """The whole of it."""
        units_a, units_b = self.units
        traded = self.entry_usd + self.notional_at(price_a, price_b)
        return BacktestTrade(
            trade_id=f"{self.pair.pair_id}:{self.decided_ms}",
            pair_id=self.pair.pair_id,
            symbol_a=self.pair.leg_a,
            symbol_b=self.pair.leg_b,
            side=self.held.side,
            hedge_ratio=self.held.hedge_ratio,
            decided_ms=self.decided_ms,
            opened_ms=self.opened_ms,
            closed_ms=closed_ms,
            entry_z=self.entry_z,
            exit_z=exit_z,
            exit_reason=reason,
            quantity_a=units_a,
            quantity_b=units_b,
            entry_price_a=self.price_a,
            entry_price_b=self.price_b,
            exit_price_a=price_a,
            exit_price_b=price_b,
            gross_usd=self.gross_at(price_a, price_b),
            fees_usd=fee_rate * traded,
            funding_usd=self.funding_until(market, closed_ms),
            expected_edge_usd=self.edge.net,
        )


def fill_prices(timeline: Timeline, place: int, signs: tuple[int, int], slippage: float) -> tuple[float, float]:
    """What an order of each leg gets at this moment: the far side of the spread and the slippage beyond. Signs: +1 buys."""
    price_a = float(timeline.fill_a[place]) + signs[0] * float(timeline.fill_half_a[place])
    price_b = float(timeline.fill_b[place]) + signs[1] * float(timeline.fill_half_b[place])
    return price_a * (1 + signs[0] * slippage), price_b * (1 + signs[1] * slippage)
