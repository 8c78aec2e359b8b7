"""Writes a trade's entries as the engine would, into a book and onto a timeline."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from domain.entries import (
    AnyEntry,
    FillSeen,
    OrderAdvanced,
    OrderIntended,
    TradeAdvanced,
    TradeIntended,
    decode,
    encode,
)
from domain.orders import (
    Fill,
    LegName,
    OrderChange,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    TimeInForce,
    client_order_id_of,
)
from domain.pairs import PairSide, TradeStatus
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from domain.trade_book import TradeBook

D = Decimal
A, B = LegName.A, LegName.B
CAT, DOGE = Symbol("1000CAT/USDT:USDT"), Symbol("1MBABYDOGE/USDT:USDT")
PAIR = PairId("CAT_DOGE")
TOLERANCE = 0.02


class Story:
    """Writes entries as the engine would, into a book and onto a timeline."""

    def __init__(self) -> None:
        self.book = TradeBook(TOLERANCE)
        self.timeline: list[AnyEntry] = []
        self._executions = 0

    def apply(self, *entries: AnyEntry) -> None:
        for entry in entries:
            self.book.apply(entry)
            self.timeline.append(entry)

    def begin(self, trade: str = "t1", pair: PairId = PAIR, side: PairSide = PairSide.SELL, **other: Any) -> None:
        plan = TradeIntended(
            at_ms=1_000, trade_id=TradeId(trade), pair_id=pair, signal_id=f"s-{trade}", side=side, symbol_a=CAT,
            symbol_b=DOGE, hedge_ratio=0.5, spread_mean=0.0, spread_std=1.0, entry_z=-2.1, exit_threshold=0.0,
            stop_z=4.0, time_stop_ms=None, quantity_a=D(50), quantity_b=D(100), price_a=D(2), price_b=D(1),
            hedge_error=0.0, expected_edge_usd=D(1), costs={},
        )  # fmt: skip
        self.apply(msgspec.structs.replace(plan, **other))

    def order(
        self, leg: LegName, purpose: Purpose = Purpose.ENTRY, trade: str = "t1", quantity: str = "100"
    ) -> ClientOrderId:
        state = self.book.trades[TradeId(trade)]
        attempt = state.attempts(leg, purpose)
        opening = state.plan.side.side_of(leg)
        name = client_order_id_of(TradeId(trade), leg, purpose, attempt)
        intent = OrderIntent(
            client_order_id=name, trade_id=state.trade_id, pair_id=state.pair_id, leg=leg, purpose=purpose,
            symbol=state.symbol_of(leg), side=opening if purpose is Purpose.ENTRY else opening.opposite,
            order_type=OrderType.LIMIT, time_in_force=TimeInForce.IOC, quantity=D(quantity), limit_price=D(1),
            reduce_only=False, attempt=attempt,
        )  # fmt: skip
        self.apply(OrderIntended(at_ms=1_000, intent=intent))
        return name

    def advance(
        self, name: ClientOrderId, status: OrderStatus, filled: str = "0", reason: str = "", **other: Any
    ) -> None:
        trade_id = self.book.orders[name].intent.trade_id
        self.apply(
            OrderAdvanced(
                at_ms=1_000, client_order_id=name, trade_id=trade_id, change=OrderChange.ACCEPTED, status=status,
                exchange_order_id=None if status is OrderStatus.REFUSED else f"x{name}", filled=D(filled),
                average_price=None, source="reply", reason=reason, **other,
            )
        )  # fmt: skip

    def fill(self, name: ClientOrderId, quantity: str, price: str = "1", fee: str = "0", at_ms: int = 1_000) -> None:
        self._executions += 1
        intent = self.book.orders[name].intent
        fill = Fill(
            symbol=intent.symbol, exchange_trade_id=str(self._executions), exchange_order_id=f"x{name}",
            client_order_id=name, side=intent.side, quantity=D(quantity), price=D(price), fee=D(fee),
            fee_asset="USDT", at_ms=at_ms,
        )  # fmt: skip
        self.apply(
            FillSeen(
                at_ms=at_ms,
                fill=fill,
                trade_id=intent.trade_id,
                pair_id=intent.pair_id,
                leg=intent.leg,
                purpose=intent.purpose,
            )
        )

    def share(self, fill: Fill, trade: str, leg: LegName) -> None:
        """A external party's execution, or a part of one, is this trade's exit."""
        state = self.book.trades[TradeId(trade)]
        self.apply(
            FillSeen(
                at_ms=fill.at_ms, fill=fill, trade_id=state.trade_id, pair_id=state.pair_id, leg=leg, purpose=Purpose.EXIT
            )
        )  # fmt: skip

    def trade(self, status: TradeStatus, trade: str = "t1", at_ms: int = 2_000, reason: str = "", **other: Any) -> None:
        pair_id = self.book.trades[TradeId(trade)].pair_id
        self.apply(
            TradeAdvanced(at_ms=at_ms, trade_id=TradeId(trade), pair_id=pair_id, status=status, reason=reason, **other)
        )

    def round_trip(self, trade: str, pair: PairId = PAIR, *, cost: str = "1", ended_ms: int = 2_000) -> None:
        """A whole trade that loses `cost`."""
        self.begin(trade, pair)
        for purpose in (Purpose.ENTRY, Purpose.EXIT):
            for leg, quantity in ((A, "50"), (B, "100")):
                name = self.order(leg, purpose, trade)
                self.fill(name, quantity, fee=str(D(cost) / 4))
                self.advance(name, OrderStatus.FILLED, quantity)
        self.trade(TradeStatus.CLOSED, trade, ended_ms)


def state_of(book: TradeBook) -> dict[str, Any]:
    """Everything a decision may look at."""
    return {
        "positions": book.positions(),
        "open": {pair: trade.trade_id for pair, trade in book.open_by_pair.items()},
        "live": sorted(trade.trade_id for trade in book.live_trades()),
        "frozen": book.frozen_until_ms,
        "rollbacks": book.rollbacks,
        "realized": book.realized_since(0),
        "executed": book.executed,
        "orders": {name: (o.status, o.reported, o.seen, o.refusal, o.exchange_order_id) for name, o in book.orders.items()},
        "trades": {
            t.trade_id: (t.status, t.held, t.entered, t.cash_usd, t.fees_usd, t.funding_usd, t.naked_seconds(9_999),
                         t.exit_reason, t.exit_z, t.ended_ms, t.leg_skew_ms, t.hedge_error)
            for t in book.trades.values()
        },
    }  # fmt: skip


def replay(timeline: Sequence[AnyEntry]) -> TradeBook:
    book = TradeBook(TOLERANCE)
    for entry in timeline:
        book.apply(decode(encode(entry)))
    return book
