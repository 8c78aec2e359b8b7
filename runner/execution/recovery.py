"""At start: ask the venue what the journal cannot know. A query that fails means wait, never flat."""

from domain.errors import OutcomeUnknown, Unreachable
from domain.orders import OrderReport, is_ours
from domain.trades import ZERO
from runner.execution.records import Records
from runner.execution.situation import Switches
from runner.ports import Exchange

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


class Recovery:
    """The first conversation with the venue after a start."""

    def __init__(self, exchange: Exchange, records: Records, switches: Switches) -> None:
        self._exchange = exchange
        self._records = records
        self._switches = switches

    async def survey(self, *, may_cancel: bool) -> int:
        """Compare positions and resting orders with the books, cancel our own orphans.

        Returns the number of orphans that could not be cancelled. Waits for the venue for as long as it takes.
        """
        tries = 0
        while True:
            try:
                resting = await self._exchange.open_orders()
                await self._report_positions()
                ours = [report for report in resting if is_ours(report.client_order_id)]
                return await self._cancel_orphans(ours, may_cancel=may_cancel)
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

    async def _cancel_orphans(self, resting: list[OrderReport], *, may_cancel: bool) -> int:
        """Resting orders with our prefix that no intent explains."""
        left = 0
        for report in resting:
            if report.client_order_id in self._records.book.orders:
                continue
            self._records.log.error(
                "orphan_order", symbol=report.symbol, client_order_id=report.client_order_id, filled=str(report.filled)
            )
            if may_cancel:
                await self._exchange.cancel(report.symbol, report.client_order_id)
            left += 1 if report.filled > 0 or not may_cancel else 0
        return left
