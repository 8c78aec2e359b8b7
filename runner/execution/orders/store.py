"""Where facts become belief: journal and book move together here and nowhere else.

An *intent* is durable before it is believed, and believed before it is acted on. A *fact* from the exchange is believed at once
and journaled right after: losing it in a crash costs a query, not a position.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from domain.entries import AnyEntry, FillSeen, OrderAdvanced
from domain.order_resolution import Evidence
from domain.orders import Fill, OrderChange, OrderReport, OrderStatus, advance
from domain.refusals import Refusal
from domain.symbols import ClientOrderId, TradeId
from domain.trades import OrderState
from runner import events
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Refused
from runner.execution.context import Context
from runner.ports import Journal

STREAM_MISSES_MAX = 2

Recall = Callable[[ClientOrderId], Awaitable[Sequence[AnyEntry]]]
"""Everything the journal holds of the trade that an order belongs to, in order; nothing for an order it does not know."""


class TradeStore:
    """Journal, book, and the pulse that wakes whoever drives a trade.

    From `alone_since_ns` on, by the monotonic clock, no predecessor could write to this journal, so none could send; default now.
    """

    def __init__(
        self,
        context: Context,
        journal: Journal,
        recall: Recall | None = None,
        *,
        alone_since_ns: int | None = None,
    ) -> None:
        self._book, self._clock, self._log, self._notices = context.book, context.clock, context.log, context.notices
        self.alone_since_ns = self._clock.monotonic_ns() if alone_since_ns is None else alone_since_ns
        self._journal = journal
        self._recall = recall
        self._pulses: dict[TradeId, asyncio.Event] = {}
        self._missed_by_stream = 0

    @property
    def broken(self) -> bool:
        return self._journal.broken

    async def intend(self, *entries: AnyEntry) -> None:
        """Durable first, believed second. Raises: DuplicateEntry, JournalBroken; then nothing is believed."""
        await self._journal.append(*entries)
        for entry in entries:
            self._book.apply(entry)

    async def establish(self, *entries: AnyEntry) -> None:
        """Believed first, durable when it returns. Raises: JournalBroken."""
        if not entries:
            return
        for entry in entries:
            self._book.apply(entry)
        await self._journal.append(*entries)

    def note(self, entry: AnyEntry) -> None:
        """Telemetry that no decision rests on."""
        self._journal.note(entry)

    async def find_order(self, client_order_id: ClientOrderId) -> OrderState | None:
        """One of our orders, fetched back from the journal if its trade was over long ago; None if it was never intended.

        Raises: JournalBroken.
        """
        if client_order_id not in self._book.orders and self._recall is not None:
            entries = await self._recall(client_order_id)
            if entries and client_order_id not in self._book.orders:
                self._book.remember(entries)
        return self._book.orders.get(client_order_id)

    # What the exchange says of our orders.

    async def take_report(self, order: OrderState, report: OrderReport, source: str) -> None:
        """Raises: InvariantBroken when the life of an order has a gap."""
        await self._advance(
            order,
            report.change,
            source,
            filled=report.filled,
            average_price=report.average_price,
            exchange_order_id=report.exchange_order_id,
        )

    async def take_failure(self, order: OrderState, failure: ExchangeError, source: str) -> None:
        """A refusal ends the order, a request that never left kills it, anything else leaves it unknown.

        An order that the user stream has shown alive is not ended by a reply that denies it: the elements of a batch's reply name
        no order when they refuse one, and may stand in each other's place.
        """
        if not isinstance(failure, OutcomeUnknown) and order.status not in {OrderStatus.INTENDED, OrderStatus.UNKNOWN}:
            intent = order.intent
            self._log.emit(
                events.REPLY_CONTRADICTS_STREAM,
                pair_id=intent.pair_id,
                trade_id=intent.trade_id,
                client_order_id=intent.client_order_id,
                status=str(order.status),
                why=str(failure),
            )
        elif isinstance(failure, Refused):
            await self._advance(order, OrderChange.REFUSED, source, str(failure.refusal), refusal=failure.refusal)
        elif isinstance(failure, OutcomeUnknown):
            await self._advance(order, OrderChange.OUTCOME_UNKNOWN, source, failure.why, refusal=failure.refusal)
        else:
            await self._advance(order, OrderChange.NEVER_SENT, source, str(failure))

    async def declare_dead(self, order: OrderState, evidence: Evidence) -> None:
        """The exchange can no longer accept it and knows nothing of it; the evidence stays with the row."""
        shown = msgspec.json.encode(evidence).decode()
        await self._advance(order, OrderChange.PROVEN_ABSENT, "query", f"proven absent: {shown}")

    async def _advance(
        self,
        order: OrderState,
        change: OrderChange,
        source: str,
        reason: str = "",
        *,
        refusal: Refusal | None = None,
        filled: Any = None,
        average_price: Any = None,
        exchange_order_id: str | None = None,
    ) -> None:
        status = advance(order.status, change)
        filled_now = order.reported if filled is None else max(order.reported, filled)
        reported_nothing_new = status is order.status and filled_now == order.reported
        if reported_nothing_new and change is not OrderChange.OUTCOME_UNKNOWN:
            return
        entry = OrderAdvanced(
            at_ms=self._clock.now_ms(),
            client_order_id=order.intent.client_order_id,
            trade_id=order.intent.trade_id,
            change=change,
            status=status,
            exchange_order_id=exchange_order_id or order.exchange_order_id,
            filled=filled_now,
            average_price=average_price,
            source=source,
            reason=reason,
            refusal_kind=None if refusal is None else refusal.kind,
            refusal_code="" if refusal is None else refusal.code,
        )
        await self._establish_for(order.intent.trade_id, entry)

    async def take_fill(self, order: OrderState, fill: Fill) -> None:
        """One execution of one of our orders, however often and in whatever order it is reported."""
        if self._book.knows_fill(fill):
            return
        intent = order.intent
        entry = FillSeen(
            at_ms=self._clock.now_ms(),
            fill=fill,
            trade_id=intent.trade_id,
            pair_id=intent.pair_id,
            leg=intent.leg,
            purpose=intent.purpose,
        )
        await self._establish_for(intent.trade_id, entry)

    def fills_came_by(self, source: str) -> None:
        """Notice a user stream whose socket is open and which tells nothing."""
        if source == "stream":
            self._missed_by_stream = 0
            return
        self._missed_by_stream += 1
        if self._missed_by_stream >= STREAM_MISSES_MAX:
            self._missed_by_stream = 0
            self._notices.stream_silent()

    async def _establish_for(self, trade_id: TradeId, entry: AnyEntry) -> None:
        driven = trade_id in self._pulses
        self._book.apply(entry)
        if driven:
            self._pulses[trade_id].set()
        await self._journal.append(entry)
        if not driven:
            self._notices.trade_changed(trade_id)

    # Waking whoever drives a trade.

    def drive(self, trade_id: TradeId) -> None:
        self._pulses.setdefault(trade_id, asyncio.Event())

    def is_driven(self, trade_id: TradeId) -> bool:
        return trade_id in self._pulses

    def release(self, trade_id: TradeId) -> None:
        if self._pulses.pop(trade_id, None) is not None:
            self._notices.trade_changed(
                trade_id
            )  # News that came while its last row was being written has woken nobody.

    async def changed(self, trade_id: TradeId, seconds_max: float) -> bool:
        """Wait for the next change of the trade's orders. False when there was none in time."""
        pulse = self._pulses[trade_id]
        try:
            async with asyncio.timeout(seconds_max):
                await pulse.wait()
        except TimeoutError:
            return False
        pulse.clear()
        return True
