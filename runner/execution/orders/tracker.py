"""One order from intent to proven end: sent once, looked up by its client id for as long as its fate is unknown."""

import asyncio
from collections.abc import Sequence

import msgspec

from domain.entries import AnyEntry
from domain.ladder import step_of
from domain.order_resolution import LOOKS_MIN
from domain.orders import OrderIntent, OrderReport
from domain.trades import OrderState
from runner import events, metrics
from runner.exchange.errors import ExchangeError, OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange
from runner.execution.context import Context
from runner.execution.orders.resolution import FATE_UNKNOWN, OrderResolution, Search
from runner.execution.orders.store import TradeStore

LOOK_UP_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0)
"""Waits between look-ups of an order whose fate is unknown; the last one repeats for ever."""
FILLS_BY_STREAM_SECONDS = 0.25
"""How long the user stream may take to bring executions that a reply has announced."""
PROOF_SECONDS = 0.5
"""Between the look-ups that make the proof, once the exchange can no longer accept the order."""


class OrderTracker:
    """Sends orders and brings each of them to its end."""

    def __init__(
        self,
        context: Context,
        exchange: Exchange,
        store: TradeStore,
        resolution: OrderResolution,
        *,
        order_timeout_seconds: float,
    ) -> None:
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._exchange = exchange
        self._store = store
        self._order_timeout_seconds = order_timeout_seconds
        self._resolution = resolution
        self._sent_until_ns = resolution.sent_until_ns

    async def send(self, intents: Sequence[OrderIntent], *journaled_with: AnyEntry) -> list[OrderState]:
        """Journal the intents (with whatever must be durable together with them), then send them in one request.

        Returns the orders as they stand after the reply; some may be UNKNOWN. Raises: DuplicateEntry, JournalBroken, and
        then nothing was sent.
        """
        store = self._store
        now_ms = self._clock.now_ms()
        await store.intend(*journaled_with, *(self._resolution.intended(intent, now_ms) for intent in intents))
        orders = [self._book.orders[intent.client_order_id] for intent in intents]
        try:
            with metrics.ORDER_SECONDS.time():
                answers = await self._exchange.place(intents)
        finally:
            left_by_ns = self._clock.monotonic_ns()
            for intent in intents:
                self._sent_until_ns[intent.client_order_id] = left_by_ns
        for order, answer in zip(orders, answers, strict=True):
            if isinstance(answer, OrderReport):
                await store.take_report(order, answer, "reply")
            else:
                await store.take_failure(order, answer, "reply")
        return orders

    async def conclude(self, orders: Sequence[OrderState]) -> None:
        """Return when every one of them is over and all their executions are booked. Never gives up.

        An order that rests is withdrawn at once: to conclude it is to end it. Others are cancelled when they work for longer than
        they should.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for order in orders:
                    if not order.is_settled:
                        group.create_task(self._conclude(order), name=f"conclude-{order.intent.client_order_id}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # A broken journal must be told from a bug, also when raised twice.

    async def _conclude(self, order: OrderState) -> None:
        search = Search()
        began_ns = self._clock.monotonic_ns()
        patience_seconds = 0.0 if order.intent.rests else self._order_timeout_seconds
        while not order.is_settled:
            if order.is_over:
                await self._fetch_fills(order, search)
            elif order.status in FATE_UNKNOWN:
                await self._look_up(order, search)
            elif (self._clock.monotonic_ns() - began_ns) / 1e9 >= patience_seconds:
                await self._withdraw(order, search)
            elif not await self._store.changed(order.intent.trade_id, self._pause(search)):
                await self._look_up(order, search)
        self._sent_until_ns.pop(order.intent.client_order_id, None)

    def _pause(self, search: Search) -> float:
        seconds = step_of(LOOK_UP_SECONDS, search.looks)
        search.looks += 1
        return seconds

    async def _look_up(self, order: OrderState, search: Search) -> None:
        intent = order.intent
        try:
            report = await self._exchange.look_up(intent.symbol, intent.client_order_id)
        except (OutcomeUnknown, Unreachable) as failure:
            # A failed look-up is not an absence.
            await self._wait_after(order, search, failure)
            return
        if report is not None:
            await self._store.take_report(order, report, "query")
            return
        evidence = await self._resolution.absent(order, search) if order.status in FATE_UNKNOWN else None
        if evidence is not None and not (intent.rests and await self._may_rest(order)):
            await self._store.declare_dead(order, evidence)
            return
        await self._store.changed(intent.trade_id, self._pause_of_absent(order, search))

    async def _may_rest(self, order: OrderState) -> bool:
        """An order that rests leaves no execution and moves no position: only a cancel asks the matching engine itself."""
        try:
            report = await self._exchange.cancel(order.intent.symbol, order.intent.client_order_id)
        except (OutcomeUnknown, Unreachable) as failure:
            self._log_waiting(order, failure)
            return True
        if report is not None:
            await self._store.take_report(order, report, "cancel")
        return report is not None or order.status not in FATE_UNKNOWN

    def _pause_of_absent(self, order: OrderState, search: Search) -> float:
        """Not beyond the moment from which an absence counts, and briskly from there: the other leg may be waiting, unhedged."""
        past_bound_ms = self._resolution.past_bound_ms(order)
        if past_bound_ms <= 0:
            return min(self._pause(search), (1 - past_bound_ms) / 1000)
        return PROOF_SECONDS if search.absences <= LOOKS_MIN else self._pause(search)

    async def look(self, order: OrderState) -> None:
        """One look at an order that works, and at the executions that nobody reported. A failed one changes nothing."""
        try:
            report = await self._exchange.look_up(order.intent.symbol, order.intent.client_order_id)
            if report is not None:
                await self._store.take_report(order, report, "query")
            if order.seen < order.reported:
                await self._book_executions(order)
        except (OutcomeUnknown, Unreachable) as failure:
            self._log_waiting(order, failure)

    async def _fetch_fills(self, order: OrderState, search: Search) -> None:
        """The stream brings executions first; what it does not bring in time is fetched."""
        if search.looks == 0 and await self._store.changed(order.intent.trade_id, FILLS_BY_STREAM_SECONDS):
            return
        if order.is_settled:
            return
        try:
            await self._book_executions(order)
        except (OutcomeUnknown, Unreachable) as failure:
            await self._wait_after(order, search, failure)
            return
        if not order.is_settled:
            await self._store.changed(order.intent.trade_id, self._pause(search))

    async def _book_executions(self, order: OrderState) -> None:
        """Raises: OutcomeUnknown, Unreachable."""
        fills = await self._exchange.fills(
            order.intent.symbol, since_ms=order.intended_ms, exchange_order_id=order.exchange_order_id
        )
        for fill in fills:
            if fill.exchange_order_id == order.exchange_order_id and not self._book.knows_fill(fill):
                if order.intent.client_order_id in self._sent_until_ns:  # Else it is older than the stream.
                    self._store.fills_came_by("query")
                # userTrades names the order by the exchange's id only.
                named = msgspec.structs.replace(fill, client_order_id=order.intent.client_order_id)
                await self._store.take_fill(order, named)

    async def _withdraw(self, order: OrderState, search: Search) -> None:
        """Cancel, and look before asking again: the request may be lost, or be overtaken by an execution."""
        try:
            report = await self._exchange.cancel(order.intent.symbol, order.intent.client_order_id)
        except (OutcomeUnknown, Unreachable) as failure:
            self._log_waiting(order, failure)
            await self._wait_after(order, search, failure)
            report = None
        if report is not None:
            await self._store.take_report(order, report, "cancel")
        if not order.is_over:
            await self._look_up(order, search)
        if not order.is_over:
            await self._store.changed(order.intent.trade_id, self._pause(search))

    async def _wait_after(self, order: OrderState, search: Search, failure: ExchangeError) -> None:
        if search.looks and search.looks % 8 == 0:
            self._log_waiting(order, failure)
        blocked = self._exchange.blocked_ms() / 1000
        await self._store.changed(order.intent.trade_id, max(self._pause(search), blocked))

    def _log_waiting(self, order: OrderState, failure: ExchangeError) -> None:
        self._log.emit(
            events.ORDER_STATUS_UNKNOWN,
            trade_id=order.intent.trade_id,
            pair_id=order.intent.pair_id,
            client_order_id=order.intent.client_order_id,
            why=str(failure),
        )
