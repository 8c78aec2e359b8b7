"""Opening a trade with one leg resting (`execution.use_limit_orders`).

The resting leg never makes others wait for long: whoever wants a lock of this trade's symbols (an exit, a flatten), a pause, a
shutdown, or any guard that no longer agrees ends it, cancel first. What filled and was hedged goes on as a smaller trade.
"""

from collections.abc import Sequence

from domain.entries import TradeAdvanced, TradeIntended
from domain.errors import DuplicateEntry
from domain.guards import DenialCode
from domain.orders import LegName, OrderIntent
from domain.pairs import TradeStatus
from domain.trades import TradeState
from runner import events
from runner.execution.entry.dead_man_switch import DeadManSwitch
from runner.execution.entry.post_only_entry import Objection, PostOnlyEntry, Report, Tools, Why
from runner.execution.entry.saga import EntrySaga, Opened


class NoLongerWanted(Exception):
    """The world changed while the dead-man switch was being armed; nothing was placed."""

    def __init__(self, why: Why | None) -> None:
        super().__init__(str(why))
        self.code = why if isinstance(why, DenialCode) else DenialCode.SYMBOL_BUSY


class PostOnlyEntrySaga:
    """Opens trades whose plan lets one leg rest."""

    def __init__(self, entry_saga: EntrySaga, tools: Tools) -> None:
        self._entry_saga = entry_saga
        self._tools = tools
        self._dead_man_switch = DeadManSwitch(tools.context, tools.exchange, tools.settings.dead_man_seconds)

    async def open(self, plan: TradeIntended, intents: Sequence[OrderIntent], objection: Objection) -> Opened:
        """Call with both symbols locked; one of the two intents rests.

        Raises: NoLongerWanted, DeadManSwitchNotArmed, DuplicateEntry (nothing was placed), JournalBroken.
        """
        (resting,) = (intent for intent in intents if intent.rests)
        duplicate: DuplicateEntry | None = None
        async with self._dead_man_switch.watching(resting.symbol) as watch:
            entry = PostOnlyEntry(self._tools, plan, intents, objection, watch)
            try:
                await entry.run()
            except DuplicateEntry as error:  # Nothing was sent, so nothing rests.
                duplicate = error
        if duplicate is not None:
            raise duplicate
        trade = self._tools.context.book.trades.get(plan.trade_id)
        if trade is None:
            raise NoLongerWanted(entry.report.ended)
        await self._record(trade, resting.leg, entry.report)
        opened = await self._entry_saga.settle(trade)
        nobody_came = not opened.hedged and not any(order.filled for order in trade.orders.values())
        return Opened(hedged=False, unfilled=entry.report.ended) if nobody_came else opened

    async def settle(self, trade: TradeState) -> Opened:
        """Take up an opening trade of the last process: what rests is withdrawn, what filled is settled."""
        opened = await self._entry_saga.settle(trade)
        for symbol in sorted({order.intent.symbol for order in trade.orders.values() if order.intent.rests}):
            await self._dead_man_switch.disarm(symbol)
        return opened

    async def _record(self, trade: TradeState, leg: LegName, report: Report) -> None:
        context, store = self._tools.context, self._tools.store
        facts = {
            "resting_leg": leg.value,
            "quotes": report.quotes,
            "post_only_refused": report.post_only_refused,
            "hedges": report.hedges,
            "ended": "" if report.ended is None else report.ended.value,
            "unhedged_usd_seconds": round(report.unhedged_usd_seconds, 3),
        }
        await store.establish(
            TradeAdvanced(
                at_ms=context.clock.now_ms(),
                trade_id=trade.trade_id,
                pair_id=trade.pair_id,
                status=TradeStatus.OPENING,
                reason="rested",
                naked_seconds=trade.naked_seconds(),
                facts=facts,
            )
        )
        context.log.emit(events.LIMIT_ENTRY_ENDED, pair_id=trade.pair_id, trade_id=trade.trade_id, **facts)
