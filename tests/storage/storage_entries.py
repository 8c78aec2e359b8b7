"""Entries for the storage tests: short builders, and a journal filled in one stroke."""

from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from domain import entries as e
from domain.orders import (
    Fill,
    LegName,
    OrderChange,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
    client_order_id_of,
)
from domain.pairs import PairSide, SignalType, TradeStatus
from domain.symbols import ClientOrderId, PairId, Symbol, TradeId
from storage import entries_file

SYMBOLS = {LegName.A: Symbol("1000CAT/USDT:USDT"), LegName.B: Symbol("1MBABYDOGE/USDT:USDT")}
PAIR = PairId("1000CAT_1MBABYDOGE")


def signal(signal_id: str, *, at_ms: int = 1_000, pair_id: PairId = PAIR, z_score: float = 2.5) -> e.SignalReceived:
    return e.SignalReceived(
        at_ms=at_ms,
        signal_id=signal_id,
        pair_id=pair_id,
        signal_type=SignalType.BUY,
        z_score=z_score,
        spread=0.1,
        price_a=1.5,
        price_b=0.5,
    )


def sample(at_ms: int, z_score: float | None = None) -> e.SpreadSampled:
    return e.SpreadSampled(at_ms=at_ms, pair_id=PAIR, price_a=1.5, price_b=0.5, spread=0.1, z_score=z_score)


def trade(
    trade_id: str, *, at_ms: int = 1_000, side: PairSide = PairSide.BUY, pair_id: PairId = PAIR
) -> e.TradeIntended:
    return e.TradeIntended(
        at_ms=at_ms,
        trade_id=TradeId(trade_id),
        pair_id=pair_id,
        signal_id=f"signal-{trade_id}",
        side=side,
        symbol_a=SYMBOLS[LegName.A],
        symbol_b=SYMBOLS[LegName.B],
        hedge_ratio=0.7387,
        spread_mean=0.01,
        spread_std=0.002,
        entry_z=2.4,
        exit_threshold=0.0,
        stop_z=4.0,
        time_stop_ms=None,
        quantity_a=Decimal(700),
        quantity_b=Decimal(1000),
        price_a=Decimal("1.5"),
        price_b=Decimal("0.5"),
        hedge_error=0.001,
        expected_edge_usd=Decimal("1.25"),
        costs={"fees_usd": "0.8"},
    )


def step(
    trade_id: str, status: TradeStatus, *, at_ms: int = 2_000, reason: str = "why", **more: object
) -> e.TradeAdvanced:
    return e.TradeAdvanced(at_ms=at_ms, trade_id=TradeId(trade_id), pair_id=PAIR, status=status, reason=reason, **more)


def fill(
    trade_id: str | None,
    leg: LegName,
    side: Side,
    quantity: str,
    price: str,
    *,
    number: int,
    purpose: Purpose = Purpose.ENTRY,
    fee: str = "0.1",
    fee_asset: str = "USDT",
    at_ms: int = 1_500,
) -> e.FillSeen:
    return e.FillSeen(
        at_ms=at_ms + 3,
        fill=Fill(
            symbol=SYMBOLS[leg],
            exchange_trade_id=str(number),
            exchange_order_id=f"x{number}",
            client_order_id=ClientOrderId(f"tdm-{trade_id}-{leg}e0"),
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            fee=Decimal(fee),
            fee_asset=fee_asset,
            at_ms=at_ms,
        ),
        trade_id=None if trade_id is None else TradeId(trade_id),
        pair_id=None if trade_id is None else PAIR,
        leg=None if trade_id is None else leg,
        purpose=None if trade_id is None else purpose,
    )


def order(
    trade_id: str,
    leg: LegName,
    attempt: int = 0,
    *,
    purpose: Purpose = Purpose.ENTRY,
    time_in_force: TimeInForce | None = None,
    at_ms: int = 1_100,
) -> e.OrderIntended:
    return e.OrderIntended(
        at_ms=at_ms,
        intent=OrderIntent(
            client_order_id=client_order_id_of(TradeId(trade_id), leg, purpose, attempt),
            trade_id=TradeId(trade_id),
            pair_id=PAIR,
            leg=leg,
            purpose=purpose,
            symbol=SYMBOLS[leg],
            side=PairSide.BUY.side_of(leg),
            order_type=OrderType.MARKET,
            time_in_force=time_in_force,
            quantity=Decimal(700),
            limit_price=None,
            reduce_only=False,
            attempt=attempt,
        ),
    )


def order_step(
    intended: e.OrderIntended,
    status: OrderStatus,
    *,
    filled: str = "0",
    average_price: str | None = None,
    exchange_order_id: str | None = None,
    at_ms: int = 1_200,
) -> e.OrderAdvanced:
    return e.OrderAdvanced(
        at_ms=at_ms,
        client_order_id=intended.intent.client_order_id,
        trade_id=intended.intent.trade_id,
        change=OrderChange.ACCEPTED,
        status=status,
        exchange_order_id=exchange_order_id,
        filled=Decimal(filled),
        average_price=None if average_price is None else Decimal(average_price),
        source="stream",
        reason="",
    )


def fill_journal(path: Path, entries: Iterable[e.Entry]) -> None:
    """All of them, in one transaction, without a journal's thread."""
    with closing(entries_file.open_for_writing(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for entry in entries:
            entries_file.insert(connection, [entries_file.row_of(entry)])
        connection.execute("COMMIT")
