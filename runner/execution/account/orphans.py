"""Orders that rest under our prefix and that no intent explains. A query that fails means wait, never flat."""

from domain.orders import OrderReport, is_ours
from domain.symbols import ClientOrderId
from domain.trades import ZERO
from runner import events
from runner.exchange.port import Exchange
from runner.execution.asking import answered
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore


class Orphans:
    """Orders with our prefix that the journal does not know."""

    def __init__(self, context: Context, exchange: Exchange, store: TradeStore) -> None:
        self._context = context
        self._book, self._log = context.book, context.log
        self._exchange = exchange
        self._store = store

    async def survey(self, *, may_cancel: bool) -> frozenset[ClientOrderId]:
        """Compare positions and resting orders with the books, cancel our own orphans.

        Returns the orphans that are not gone without a trace. Waits for the exchange for as long as it takes.
        """
        return await answered(self._context, self._exchange, lambda: self._survey(may_cancel=may_cancel))

    async def _survey(self, *, may_cancel: bool) -> frozenset[ClientOrderId]:
        await self._report_positions()
        left: set[ClientOrderId] = set()
        for report in await self.resting():
            self._log.emit(
                events.ORPHAN_ORDER,
                symbol=report.symbol,
                client_order_id=report.client_order_id,
                filled=str(report.filled),
            )
            ended = await self._exchange.cancel(report.symbol, report.client_order_id) if may_cancel else None
            if ended is None or max(report.filled, ended.filled) > 0:
                left.add(report.client_order_id)
        return frozenset(left)

    async def resting(self) -> list[OrderReport]:
        """Resting orders with our prefix that no intent explains. Raises: OutcomeUnknown, Unreachable."""
        resting = await self._exchange.open_orders()
        ours = [report for report in resting if is_ours(report.client_order_id)]
        return [report for report in ours if await self._store.find_order(report.client_order_id) is None]

    async def _report_positions(self) -> None:
        """Say what differs; what is not ours is never touched."""
        held = await self._exchange.positions()
        believed = self._book.positions()
        in_flight = {s for trade in self._book.live_trades() if trade.unsettled() for s in trade.symbols}
        for symbol in sorted(set(held) | set(believed)):
            at_exchange = held[symbol].quantity if symbol in held else ZERO
            ours = believed.get(symbol, ZERO)
            if at_exchange != ours:
                self._log.emit(
                    events.POSITION_MISMATCH,
                    symbol=symbol,
                    exchange_quantity=str(at_exchange),
                    journal_quantity=str(ours),
                    explanation="orders in flight" if symbol in in_flight else "not ours, or traded by somebody else",
                )
