"""The user stream's events on their way into the books: bounded, in order, one consumer."""

import asyncio
from collections.abc import Callable

from domain.errors import InvariantBroken, JournalBroken
from domain.orders import Fill, OrderReport, is_ours
from runner.exchange.binance.user_stream import UserNews
from runner.execution.entry.gate import EntryGate
from runner.execution.orders.store import TradeStore

INBOX_MAX = 10_000


class Inbox:
    """Consumes order events. A full inbox halts everything: a process that cannot keep up must not trade."""

    def __init__(
        self,
        records: TradeStore,
        switches: EntryGate,
        *,
        on_foreign_fill: Callable[[Fill], None],
        halt: Callable[[str], None],
    ) -> None:
        self._records = records
        self._switches = switches
        self._on_foreign_fill = on_foreign_fill
        self._halt = halt
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
                # The books of one order disagree with the venue; its driver will find the truth by query.
                self._records.log.error("event_contradicts_books", why=str(error))

    async def _take(self, news: UserNews) -> None:
        client_order_id = news.report.client_order_id
        order = await self._records.find_order(client_order_id) if is_ours(client_order_id) else None
        if order is not None:
            # The execution first: an order must not look finished while a part of it is still in our hands.
            if news.fill is not None:
                self._records.fills_came_by("stream")
                await self._records.take_fill(order, news.fill)
            await self._records.take_report(order, news.report, "stream")
        elif is_ours(client_order_id):
            self._take_foreign(news.report)
        elif news.fill is not None and not self._records.book.knows_fill(news.fill):
            self._on_foreign_fill(news.fill)
            self._records.log.info(
                "foreign_fill", symbol=news.fill.symbol, side=str(news.fill.side), quantity=str(news.fill.quantity)
            )

    def _take_foreign(self, report: OrderReport) -> None:
        """Our prefix, and no intent: somebody else trades this account under our name. Entries stop; said once an order."""
        if report.client_order_id not in self._switches.unexplained_orders:
            self._switches.unexplained_orders.add(report.client_order_id)
            self._records.log.error(
                "order_not_in_journal", client_order_id=report.client_order_id, symbol=report.symbol
            )
