"""The user stream's events on their way into the books: bounded, in order, one consumer."""

import asyncio
from collections.abc import Callable

from domain.entries import FillSeen
from domain.errors import InvariantBroken, JournalBroken
from domain.orders import Fill, LegName, Purpose, is_ours
from domain.trades import TradeState
from runner.exchange.user_stream import UserNews
from runner.execution.records import Records
from runner.execution.situation import Switches, closing_side

INBOX_MAX = 10_000
FORCED_PREFIXES = ("autoclose-", "adl_autoclose", "settlement_autoclose-")
"""Orders the exchange itself makes: liquidation, auto-deleveraging, delisting."""


class Inbox:
    """Consumes order events. A full inbox halts everything: a process that cannot keep up must not trade."""

    def __init__(
        self,
        records: Records,
        switches: Switches,
        *,
        on_lost_leg: Callable[[TradeState], None],
        halt: Callable[[str], None],
    ) -> None:
        self._records = records
        self._switches = switches
        self._on_lost_leg = on_lost_leg
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
        order = self._records.book.orders.get(client_order_id)
        if order is not None:
            # The execution first: an order must not look finished while a part of it is still in our hands.
            if news.fill is not None:
                self._records.fills_came_by("stream")
                await self._records.take_fill(order, news.fill)
            await self._records.take_report(order, news.report, "stream")
        elif client_order_id.startswith(FORCED_PREFIXES):
            if news.fill is not None:
                await self._take_forced(news.fill)
        elif is_ours(client_order_id):
            self._switches.foreign_orders += 1
            self._records.log.error("order_not_in_journal", client_order_id=client_order_id, symbol=news.report.symbol)
        elif news.fill is not None and not self._records.book.knows_fill(news.fill):
            self._records.log.info(
                "foreign_fill", symbol=news.fill.symbol, side=str(news.fill.side), quantity=str(news.fill.quantity)
            )

    async def _take_forced(self, fill: Fill) -> None:
        """The exchange closed what some trade held: it belongs to that trade, and the sibling leg must follow."""
        if self._records.book.knows_fill(fill):
            return
        for trade in self._records.book.live_trades():
            for leg in LegName:
                held = trade.signed_held(leg)
                if trade.symbol_of(leg) != fill.symbol or held == 0:
                    continue
                if fill.side is closing_side(held) and fill.quantity <= abs(held):
                    await self._records.establish(
                        FillSeen(
                            at_ms=self._records.clock.now_ms(),
                            fill=fill,
                            trade_id=trade.trade_id,
                            pair_id=trade.pair_id,
                            leg=leg,
                            purpose=Purpose.EXIT,
                        )
                    )
                    self._on_lost_leg(trade)
                    return
        self._records.log.error(
            "forced_fill_unexplained", symbol=fill.symbol, side=str(fill.side), quantity=str(fill.quantity)
        )
