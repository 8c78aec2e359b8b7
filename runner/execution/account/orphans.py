"""Asks the venue what the journal cannot know. A query that fails means wait, never flat."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.errors import OutcomeUnknown, Unreachable
from domain.orders import OrderReport, is_ours
from domain.symbols import ClientOrderId
from domain.trades import ZERO
from runner.exchange.port import Exchange
from runner.execution.orders.store import TradeStore

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

_T = TypeVar("_T")


class Recovery:
    """Conversations with the venue that no trade waits for."""

    def __init__(self, exchange: Exchange, records: TradeStore) -> None:
        self._exchange = exchange
        self._records = records

    async def survey(self, *, may_cancel: bool) -> frozenset[ClientOrderId]:
        """Compare positions and resting orders with the books, cancel our own orphans.

        Returns the orphans that are not gone without a trace. Waits for the venue for as long as it takes.
        """
        return await self.answered(lambda: self._survey(may_cancel=may_cancel))

    async def _survey(self, *, may_cancel: bool) -> frozenset[ClientOrderId]:
        await self._report_positions()
        left: set[ClientOrderId] = set()
        for report in await self.orphans():
            self._records.log.error(
                "orphan_order", symbol=report.symbol, client_order_id=report.client_order_id, filled=str(report.filled)
            )
            ended = await self._exchange.cancel(report.symbol, report.client_order_id) if may_cancel else None
            if ended is None or max(report.filled, ended.filled) > 0:
                left.add(report.client_order_id)
        return frozenset(left)

    async def orphans(self) -> list[OrderReport]:
        """Resting orders with our prefix that no intent explains. Raises: OutcomeUnknown, Unreachable."""
        resting = await self._exchange.open_orders()
        ours = [report for report in resting if is_ours(report.client_order_id)]
        return [report for report in ours if await self._records.find_order(report.client_order_id) is None]

    async def answered(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask until the venue answers."""
        tries = 0
        while True:
            try:
                return await ask()
            except (OutcomeUnknown, Unreachable) as failure:
                self._records.log.warning("waiting_for_exchange", why=str(failure))
            pause = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
            tries += 1
            await self._records.clock.sleep(max(pause, self._exchange.blocked_ms() / 1000))

    async def _report_positions(self) -> None:
        """Say what differs; what is not ours is never touched."""
        held = await self._exchange.positions()
        believed = self._records.book.positions()
        in_flight = {s for trade in self._records.book.live_trades() if trade.unsettled() for s in trade.symbols}
        for symbol in sorted(set(held) | set(believed)):
            at_venue = held[symbol].quantity if symbol in held else ZERO
            ours = believed.get(symbol, ZERO)
            if at_venue != ours:
                self._records.log.warning(
                    "position_differs",
                    symbol=symbol,
                    exchange_quantity=str(at_venue),
                    journal_quantity=str(ours),
                    explanation="orders in flight" if symbol in in_flight else "not ours, or traded by somebody else",
                )
