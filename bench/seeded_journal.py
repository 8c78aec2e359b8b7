"""A journal as months of trading leave it: telemetry by the million, and thousands of trades that are over."""

from collections.abc import Iterator
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
    TimeInForce,
    client_order_id_of,
    trade_id_of,
)
from domain.pairs import ExitReason, PairSide, TradeStatus
from domain.symbols import PairId, Symbol
from storage import entries_file

LAST_MS = 1_700_000_000_000
"""Long ago: the trades of this life are forgotten at the next start, as old ones are."""
TRADE_EVERY_MS = 600_000
QUANTITY, PRICE = Decimal(71_000), Decimal("0.0070")


def write_seeded_journal(journal: Path, *, telemetry_rows: int, trades: int) -> int:
    """Create the journal; the number of its rows."""
    with closing(entries_file.open_for_writing(journal)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        per_trade = telemetry_rows // max(1, trades)
        for number in range(trades):
            at_ms = LAST_MS - (trades - number) * TRADE_EVERY_MS
            for entry in (*_telemetry(at_ms, per_trade), *_trade(at_ms, number)):
                entries_file.insert(connection, [entries_file.row_of(entry)])
        connection.execute("COMMIT")
        return entries_file.last_seq_of(connection)


def _telemetry(at_ms: int, count: int) -> Iterator[e.Entry]:
    for number in range(count):
        pair_id = PairId(f"P{number % 25}")
        if number % 10:
            yield e.SpreadSampled(
                at_ms=at_ms + number, pair_id=pair_id, price_a=0.007, price_b=0.0052, spread=0.00003, z_score=0.123456
            )
        else:
            facts = {"code": "Z_NOT_EXECUTABLE", "executable_z": 1.9871, "entry_z": 2.0}
            yield e.EventLogged(at_ms=at_ms + number, level="info", event="denied", pair_id=pair_id, facts=facts)


def _trade(at_ms: int, number: int) -> Iterator[e.Entry]:
    """Two orders in, two out, an acknowledgement and an execution each: twenty rows."""
    pair_id = PairId(f"P{number % 25}")
    trade_id = trade_id_of(pair_id, at_ms)
    symbols = {LegName.A: Symbol(f"A{number % 25}/USDT:USDT"), LegName.B: Symbol(f"B{number % 25}/USDT:USDT")}
    yield e.TradeIntended(
        at_ms=at_ms,
        trade_id=trade_id,
        pair_id=pair_id,
        signal_id=f"s{number}",
        side=PairSide.SELL,
        symbol_a=symbols[LegName.A],
        symbol_b=symbols[LegName.B],
        hedge_ratio=1.0,
        spread_mean=0.0,
        spread_std=0.001,
        entry_z=-2.5,
        exit_threshold=0.0,
        stop_z=9.0,
        time_stop_ms=None,
        quantity_a=QUANTITY,
        quantity_b=QUANTITY,
        price_a=PRICE,
        price_b=PRICE,
        hedge_error=0.0,
        expected_edge_usd=Decimal(1),
        costs={"fees_usd": "0.5"},
    )
    for purpose, status in ((Purpose.ENTRY, TradeStatus.OPEN), (Purpose.EXIT, TradeStatus.CLOSED)):
        if purpose is Purpose.EXIT:
            yield _step(trade_id, pair_id, TradeStatus.CLOSING, at_ms + 60_000)
        for leg in LegName:
            opens = PairSide.SELL.side_of(leg)
            intent = OrderIntent(
                client_order_id=client_order_id_of(trade_id, leg, purpose, 0),
                trade_id=trade_id,
                pair_id=pair_id,
                leg=leg,
                purpose=purpose,
                symbol=symbols[leg],
                side=opens if purpose is Purpose.ENTRY else opens.opposite,
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.IOC,
                quantity=QUANTITY,
                limit_price=PRICE,
                reduce_only=purpose is Purpose.EXIT,
                attempt=0,
            )
            yield from _order(intent, at_ms)
        yield _step(trade_id, pair_id, status, at_ms + 60_010)


def _step(trade_id: e.TradeId, pair_id: PairId, status: TradeStatus, at_ms: int) -> e.TradeAdvanced:
    reason = None if status is TradeStatus.OPEN else ExitReason.REVERTED
    return e.TradeAdvanced(
        at_ms=at_ms, trade_id=trade_id, pair_id=pair_id, status=status, reason="", exit_reason=reason, naked_seconds=0.0
    )


def _order(intent: OrderIntent, at_ms: int) -> Iterator[e.Entry]:
    """Journaled, acknowledged, filled in one execution."""
    yield e.OrderIntended(at_ms=at_ms, intent=intent)
    for change, status, filled in (
        (OrderChange.ACCEPTED, OrderStatus.OPEN, Decimal(0)),
        (OrderChange.FILLED, OrderStatus.FILLED, QUANTITY),
    ):
        yield e.OrderAdvanced(
            at_ms=at_ms,
            client_order_id=intent.client_order_id,
            trade_id=intent.trade_id,
            change=change,
            status=status,
            exchange_order_id=intent.client_order_id,
            filled=filled,
            average_price=PRICE if filled else None,
            source="stream",
            reason="",
        )
    yield e.FillSeen(
        at_ms=at_ms,
        fill=Fill(
            symbol=intent.symbol,
            exchange_trade_id=intent.client_order_id,
            exchange_order_id=intent.client_order_id,
            client_order_id=intent.client_order_id,
            side=intent.side,
            quantity=QUANTITY,
            price=PRICE,
            fee=Decimal("0.25"),
            fee_asset="USDT",
            at_ms=at_ms,
        ),
        trade_id=intent.trade_id,
        pair_id=intent.pair_id,
        leg=intent.leg,
        purpose=intent.purpose,
    )
