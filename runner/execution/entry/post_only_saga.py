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
from runner.execution.entry.dead_man_switch import DeadManSwitch
from runner.execution.entry.post_only_entry import Objection, PostOnlyEntry, Told, Tools
from runner.execution.entry.saga import EntrySaga, Opened


class NoLongerWanted(Exception):
    """The world changed while the dead-man switch was being armed; nothing was placed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.code = DenialCode(why) if why in set(DenialCode) else DenialCode.SYMBOL_BUSY


class PostOnlyEntrySaga:
    """Opens trades whose plan lets one leg rest."""

    def __init__(self, opener: EntrySaga, tools: Tools) -> None:
        self._opener = opener
        self._tools = tools
        self._dead_man = DeadManSwitch(tools.exchange, tools.records.log, tools.settings.dead_man_seconds)

    async def open(self, plan: TradeIntended, intents: Sequence[OrderIntent], objection: Objection) -> Opened:
        """Call with both symbols locked; one of the two intents rests.

        Raises: NoLongerWanted, DeadManSwitchNotArmed, DuplicateEntry (nothing was placed), JournalBroken.
        """
        (resting,) = (intent for intent in intents if intent.rests)
        duplicate: DuplicateEntry | None = None
        async with self._dead_man.watching(resting.symbol) as watch:
            entry = PostOnlyEntry(self._tools, plan, intents, objection, watch)
            try:
                await entry.run()
            except DuplicateEntry as error:  # Nothing was sent, so nothing rests.
                duplicate = error
        if duplicate is not None:
            raise duplicate
        trade = self._tools.records.book.trades.get(plan.trade_id)
        if trade is None:
            raise NoLongerWanted(entry.told.ended)
        await self._tell(trade, resting.leg, entry.told)
        opened = await self._opener.settle(trade)
        nobody_came = not opened.hedged and not any(order.filled for order in trade.orders.values())
        return Opened(hedged=False, unfilled=entry.told.ended) if nobody_came else opened

    async def settle(self, trade: TradeState) -> Opened:
        """Take up an opening trade of the last process: what rests is withdrawn, what filled is settled."""
        opened = await self._opener.settle(trade)
        for symbol in sorted({order.intent.symbol for order in trade.orders.values() if order.intent.rests}):
            await self._dead_man.disarm(symbol)
        return opened

    async def _tell(self, trade: TradeState, leg: LegName, told: Told) -> None:
        records = self._tools.records
        facts = {
            "resting_leg": leg.value,
            "quotes": told.quotes,
            "post_only_refused": told.post_only_refused,
            "hedges": told.hedges,
            "ended": told.ended,
            "unhedged_usd_seconds": round(told.unhedged_usd_seconds, 3),
        }
        await records.establish(
            TradeAdvanced(
                at_ms=records.clock.now_ms(),
                trade_id=trade.trade_id,
                pair_id=trade.pair_id,
                status=TradeStatus.OPENING,
                reason="rested",
                naked_seconds=trade.naked_seconds(),
                facts=facts,
            )
        )
        records.log.info("limit_entry_ended", pair_id=trade.pair_id, trade_id=trade.trade_id, **facts)
