"""Where facts become belief: once each, journaled, and never unnoticed."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from execution_rig import QuietLog

from domain.entries import FillSeen, OrderAdvanced, OrderIntended, TradeIntended
from domain.errors import JournalBroken, OutcomeUnknown, Refused, Unreachable
from domain.orders import (
    Fill,
    LegName,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    Side,
    client_order_id_of,
    trade_id_of,
)
from domain.pairs import PairSide
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from domain.trades import OrderState
from runner.clock import SystemClock
from runner.execution.orders.store import TradeStore
from storage.journal import Journal

PAIR_ID, A, B = PairId("A_B"), Symbol("A/USDT:USDT"), Symbol("B/USDT:USDT")
TRADE_ID = trade_id_of(PAIR_ID, 1_000)
PLAN = TradeIntended(
    at_ms=1_000, trade_id=TRADE_ID, pair_id=PAIR_ID, signal_id="s", side=PairSide.BUY, symbol_a=A, symbol_b=B, hedge_ratio=1.0,
    spread_mean=0.0, spread_std=1.0, entry_z=2.0, exit_threshold=0.0, stop_z=4.0, time_stop_ms=None, quantity_a=Decimal(1),
    quantity_b=Decimal(1), price_a=Decimal(100), price_b=Decimal(100), hedge_error=0.0, expected_edge_usd=Decimal(1), costs={},
)  # fmt: skip
INTENT = OrderIntent(
    client_order_id=client_order_id_of(TRADE_ID, LegName.A, Purpose.ENTRY, 0), trade_id=TRADE_ID, pair_id=PAIR_ID, leg=LegName.A,
    purpose=Purpose.ENTRY, symbol=A, side=Side.BUY, order_type=OrderType.MARKET, time_in_force=None, quantity=Decimal(1),
    limit_price=None, reduce_only=False, attempt=0,
)  # fmt: skip
FILL = Fill(
    symbol=A, exchange_trade_id="7", exchange_order_id="1", client_order_id=INTENT.client_order_id, side=Side.BUY,
    quantity=Decimal(1), price=Decimal(100), fee=Decimal("0.05"), fee_asset="USDT", at_ms=1_001,
)  # fmt: skip


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[TradeStore]:
    journal = Journal.open(tmp_path / "journal.sqlite")
    made = TradeStore(journal, TradeBook(0.02), SystemClock(), QuietLog())
    await made.intend(PLAN, OrderIntended(at_ms=1_000, intent=INTENT))
    yield made
    await journal.close()


def order_in(records: TradeStore) -> OrderState:
    return records.book.orders[INTENT.client_order_id]


def written(records: TradeStore, kind: type) -> int:
    journal = records._journal
    assert isinstance(journal, Journal)
    return sum(isinstance(entry, kind) for _, entry in journal.replay())


async def test_an_execution_told_twice_is_booked_once(records: TradeStore) -> None:
    for _ in range(2):
        await records.take_fill(order_in(records), FILL)
    assert records.book.trades[TRADE_ID].held[LegName.A] == 1
    assert written(records, FillSeen) == 1


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Refused(-2019, "margin"), OrderStatus.REFUSED),
        (OutcomeUnknown("silence"), OrderStatus.UNKNOWN),
        (Unreachable("no road"), OrderStatus.DEAD),
    ],
)
async def test_what_a_failure_makes_of_an_order(
    records: TradeStore, failure: Refused | OutcomeUnknown | Unreachable, status: OrderStatus
) -> None:
    await records.take_failure(order_in(records), failure, "reply")
    assert order_in(records).status is status
    assert written(records, OrderAdvanced) == 1


async def test_news_that_nobody_waits_for_is_told(records: TradeStore) -> None:
    told: list[str] = []
    records.on_late_news = told.append
    await records.take_fill(order_in(records), FILL)
    assert told == [TRADE_ID]


async def test_news_for_a_driver_wakes_it_and_nobody_else(records: TradeStore) -> None:
    told: list[str] = []
    records.on_late_news = told.append
    records.drive(TRADE_ID)
    await records.take_fill(order_in(records), FILL)
    assert await records.changed(TRADE_ID, 5.0)
    assert told == []
    records.release(TRADE_ID)
    assert told == [TRADE_ID]  # Whatever came while its last row was written.


async def test_an_intent_that_is_not_durable_is_not_believed(records: TradeStore) -> None:
    journal = records._journal
    assert isinstance(journal, Journal)
    await journal.close()
    later = OrderIntended(at_ms=1_002, intent=INTENT)
    with pytest.raises(JournalBroken):
        await records.intend(later)
    assert len(records.book.orders) == 1
    assert order_in(records).intended_ms == 1_000
