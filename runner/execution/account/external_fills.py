"""Who traded: the account's executions in one symbol, ours booked, those of others named. The exchange's list and what the stream
told are both facts; the list may be behind, and the stream may have been silent, so together they are the story."""

from collections.abc import Iterable

import msgspec

from domain.attribution import ExternalExecution, Share
from domain.entries import FillSeen
from domain.orders import Fill, Purpose, is_ours
from domain.symbols import ClientOrderId, Symbol
from domain.trades import OrderState
from domain.units import DAY_MS, MINUTE_MS
from runner import events
from runner.exchange.errors import OutcomeUnknown
from runner.exchange.port import Exchange
from runner.execution.context import Context
from runner.execution.orders.store import TradeStore

FILLS_PAGE = 1000
FILLS_PAGES_MAX = 20
CLOCKS_APART_MS = MINUTE_MS
"""Our clock and the exchange's, at the worst: executions are asked for from so much earlier."""
HISTORY_MS = 6 * DAY_MS
"""The exchange tells executions of the last seven days."""


class AccountExecutions:
    """What was executed, and by whom. Asked with the symbol's lock held, none of our orders in flight."""

    def __init__(self, context: Context, exchange: Exchange, store: TradeStore) -> None:
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._exchange = exchange
        self._store = store
        self._owners: dict[tuple[Symbol, str], ClientOrderId] = {}
        self._reported: dict[tuple[Symbol, str], Fill] = {}

    def report(self, fill: Fill) -> None:
        """The stream says that somebody else's order was executed; it names the order's owner."""
        self._owners[fill.symbol, fill.exchange_order_id] = fill.client_order_id
        self._reported[fill.symbol, fill.exchange_trade_id] = fill

    async def external(self, symbol: Symbol, since_ms: int) -> list[ExternalExecution] | None:
        """Those of others since then, oldest first. None: executions of our own turned up and were booked; ask again.

        Raises: OutcomeUnknown, Unreachable, JournalBroken.
        """
        book = self._book
        fills = {fill.exchange_trade_id: fill for fill in await self.listed(symbol, since_ms)}
        for key, fill in [(key, fill) for key, fill in self._reported.items() if key[0] == symbol]:
            if fill.exchange_trade_id in fills or fill.at_ms < self._clock.now_ms() - HISTORY_MS:
                del self._reported[key]  # The list has it, or will never have it.
            elif fill.at_ms >= since_ms:
                fills[fill.exchange_trade_id] = fill
        by_exchange_id = {order.exchange_order_id: order for order in book.orders.values() if order.exchange_order_id}
        booked, external = False, list[ExternalExecution]()
        for fill in sorted(fills.values(), key=lambda fill: fill.at_ms):
            shares = book.shares_of(fill)
            if book.knows_fill(fill) and not shares:
                continue
            order = by_exchange_id.get(fill.exchange_order_id)
            owner = order.intent.client_order_id if order is not None else await self._owner(symbol, fill)
            if order is None and is_ours(owner):
                order = await self._store.find_order(owner)
            if order is not None:
                booked = await self._book_late(order, fill) or booked
            elif not is_ours(owner):  # With our prefix: an order that the journal does not know, told elsewhere.
                execution = ExternalExecution(fill, self._exchange.is_forced(owner), tuple(shares))
                external += [execution] if execution.left else []
        return None if booked else external

    async def listed(self, symbol: Symbol, since_ms: int) -> list[Fill]:
        """All of the account's in one symbol, oldest first: the exchange gives the oldest thousand at a time.

        Raises: OutcomeUnknown, Unreachable.
        """
        listed: dict[str, Fill] = {}
        for _ in range(FILLS_PAGES_MAX):
            page = await self._exchange.fills(symbol, since_ms=since_ms)
            listed |= {fill.exchange_trade_id: fill for fill in page}
            if len(page) < FILLS_PAGE or page[-1].at_ms <= since_ms:
                break
            since_ms = page[-1].at_ms
        return sorted(listed.values(), key=lambda fill: fill.at_ms)

    async def _owner(self, symbol: Symbol, fill: Fill) -> ClientOrderId:
        key = (symbol, fill.exchange_order_id)
        if key not in self._owners:
            owner = await self._exchange.owner_of(symbol, fill.exchange_order_id)
            if owner is None:  # A slower part of the exchange does not know it yet: it may as well be ours.
                raise OutcomeUnknown(f"the owner of order {fill.exchange_order_id} is not known yet")
            self._owners[key] = owner
        return self._owners[key]

    async def _book_late(self, order: OrderState, fill: Fill) -> bool:
        """An execution of ours that neither stream nor tracker brought; False when it was known after all."""
        if self._book.knows_fill(fill):  # Its order was fetched back from the journal, and its executions with it.
            return False
        client_order_id = order.intent.client_order_id
        self._log.emit(events.LATE_FILL, pair_id=order.intent.pair_id, trade_id=order.intent.trade_id)
        await self._store.take_fill(order, msgspec.structs.replace(fill, client_order_id=client_order_id))
        report = await self._exchange.look_up(order.intent.symbol, client_order_id)
        if report is not None:
            await self._store.take_report(order, report, "query")
        return True

    async def book(self, shares: Iterable[Share]) -> None:
        """Others closed these parts of our trades. Raises: JournalBroken."""
        for trade, leg, fill, _ in shares:
            await self._store.establish(
                FillSeen(
                    at_ms=self._clock.now_ms(),
                    fill=fill,
                    trade_id=trade.trade_id,
                    pair_id=trade.pair_id,
                    leg=leg,
                    purpose=Purpose.EXIT,
                )
            )
            self._log.emit(
                events.LEG_CLOSED_EXTERNALLY,
                pair_id=trade.pair_id,
                trade_id=trade.trade_id,
                leg=str(leg),
                symbol=fill.symbol,
                quantity=str(fill.quantity),
            )
