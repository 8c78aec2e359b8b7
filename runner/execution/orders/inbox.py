"""The user stream's events on their way into the books: bounded, in order, one consumer."""

import asyncio
from collections.abc import Callable

from domain.errors import InvariantBroken, JournalBroken
from domain.orders import Fill, OrderReport, is_ours
from runner import events
from runner.exchange.port import UserNews
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate
from runner.execution.orders.store import TradeStore

INBOX_MAX = 10_000


class Inbox:
    """Consumes order events. A full inbox halts everything: a process that cannot keep up must not trade."""

    def __init__(
        self,
        context: Context,
        store: TradeStore,
        gate: EntryGate,
        *,
        on_external_fill: Callable[[Fill], None],
    ) -> None:
        self._book, self._log, self._halt = context.book, context.log, context.halt
        self._store = store
        self._gate = gate
        self._on_external_fill = on_external_fill
        self._queue: asyncio.Queue[UserNews] = asyncio.Queue(INBOX_MAX)

    def put(self, news: UserNews) -> None:
        try:
            self._queue.put_nowait(news)
        except asyncio.QueueFull:
            self._halt("the user stream brings more than can be recorded")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            news = await self._queue.get()
            try:
                await self._take(news)
            except JournalBroken as error:
                self._halt(f"journal broken: {error}")
                return
            except InvariantBroken as error:
                # The books of one order disagree with the exchange; its tracker will find the truth by query.
                self._log.emit(events.USER_EVENT_CONTRADICTS_BOOK, why=str(error))

    async def _take(self, news: UserNews) -> None:
        client_order_id = news.report.client_order_id
        order = await self._store.find_order(client_order_id) if is_ours(client_order_id) else None
        if order is not None:
            # The execution first: an order must not look finished while a part of it is still in our hands.
            if news.fill is not None:
                self._store.fills_came_by("stream")
                await self._store.take_fill(order, news.fill)
            await self._store.take_report(order, news.report, "stream")
        elif is_ours(client_order_id):
            self._take_unknown(news.report)
        elif news.fill is not None and not self._book.knows_fill(news.fill):
            self._on_external_fill(news.fill)
            self._log.emit(
                events.EXTERNAL_FILL,
                symbol=news.fill.symbol,
                side=str(news.fill.side),
                quantity=str(news.fill.quantity),
            )

    def _take_unknown(self, report: OrderReport) -> None:
        """Our prefix, and no intent: somebody else trades this account under our name. Entries stop; logged once an order."""
        if report.client_order_id not in self._gate.unexplained_orders:
            self._gate.unexplained_orders.add(report.client_order_id)
            self._log.emit(events.ORDER_NOT_IN_JOURNAL, client_order_id=report.client_order_id, symbol=report.symbol)
