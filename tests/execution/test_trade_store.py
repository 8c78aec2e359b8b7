"""Where facts become belief: once each, journaled, and never unnoticed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from execution_rig import QuietLog

from domain.entries import FillSeen, OrderAdvanced, OrderIntended, TradeIntended
from domain.errors import JournalBroken
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
from domain.refusals import RefusalKind
from domain.symbols import PairId, Symbol
from domain.trade_book import TradeBook
from domain.trades import OrderState
from runner.clock import SystemClock
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable
from runner.execution.context import Context
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


@dataclass(frozen=True)
class Ledger:
    """A store, the context it was made with, and its journal."""

    context: Context
    store: TradeStore
    journal: Journal

    @property
    def order(self) -> OrderState:
        return self.context.book.orders[INTENT.client_order_id]

    def written(self, kind: type) -> int:
        return sum(isinstance(entry, kind) for _, entry in self.journal.replay())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    journal = Journal.open(tmp_path / "journal.sqlite")
    context = Context(book=TradeBook(0.02), clock=SystemClock(), log=QuietLog(), halt=lambda _why: None)
    made = Ledger(context, TradeStore(context, journal), journal)
    await made.store.intend(PLAN, OrderIntended(at_ms=1_000, intent=INTENT))
    yield made
    await journal.close()


async def test_an_execution_told_twice_is_booked_once(ledger: Ledger) -> None:
    for _ in range(2):
        await ledger.store.take_fill(ledger.order, FILL)
    assert ledger.context.book.trades[TRADE_ID].held[LegName.A] == 1
    assert ledger.written(FillSeen) == 1


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Refused(RefusalKind.INSUFFICIENT_MARGIN, -2019, "margin"), OrderStatus.REFUSED),
        (OutcomeUnknown("silence"), OrderStatus.UNKNOWN),
        (Unreachable("no road"), OrderStatus.DEAD),
    ],
)
async def test_what_a_failure_makes_of_an_order(
    ledger: Ledger, failure: Refused | OutcomeUnknown | Unreachable, status: OrderStatus
) -> None:
    await ledger.store.take_failure(ledger.order, failure, "reply")
    assert ledger.order.status is status
    assert ledger.written(OrderAdvanced) == 1


async def test_news_that_nobody_waits_for_is_told(ledger: Ledger) -> None:
    told: list[str] = []
    ledger.context.notices.trade_changed.subscribe(told.append)
    await ledger.store.take_fill(ledger.order, FILL)
    assert told == [TRADE_ID]


async def test_news_for_a_driver_wakes_it_and_nobody_else(ledger: Ledger) -> None:
    told: list[str] = []
    ledger.context.notices.trade_changed.subscribe(told.append)
    ledger.store.drive(TRADE_ID)
    await ledger.store.take_fill(ledger.order, FILL)
    assert await ledger.store.changed(TRADE_ID, 5.0)
    assert told == []
    ledger.store.release(TRADE_ID)
    assert told == [TRADE_ID]  # Whatever came while its last row was written.


async def test_an_intent_that_is_not_durable_is_not_believed(ledger: Ledger) -> None:
    await ledger.journal.close()
    later = OrderIntended(at_ms=1_002, intent=INTENT)
    with pytest.raises(JournalBroken):
        await ledger.store.intend(later)
    assert len(ledger.context.book.orders) == 1
    assert ledger.order.intended_ms == 1_000
