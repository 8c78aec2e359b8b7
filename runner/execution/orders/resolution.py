"""Gathers what the exchange shows of an order whose fate is unknown, and lets `domain.order_resolution` judge."""

from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from domain.entries import OrderIntended
from domain.order_resolution import LOOKS_MIN, SETTLE_MS, UNDECIDABLE, Evidence, Resolution, judge
from domain.orders import Fill, OrderIntent, OrderStatus, Side
from domain.symbols import ClientOrderId
from domain.trades import ZERO, OrderState
from domain.units import MINUTE_MS
from runner import events
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange
from runner.execution.account.positions import REPLICA_LAG_MS, SAME_MOMENT_MS, AccountPositions
from runner.execution.context import Context

ACCEPTANCE_MARGIN_MS = 1_000
"""Beyond recvWindow: the exchange takes timestamps up to this far ahead of its clock, so ours may be off by as much."""
FATE_UNKNOWN = frozenset({OrderStatus.UNKNOWN, OrderStatus.INTENDED})
LOOK_BACK_MS = MINUTE_MS
"""Executions are asked for from this long before the intent: its time is by our clock, theirs by the exchange's."""
ALERT_AFTER_MS = MINUTE_MS
ALERT_EVERY_MS = 600_000


@dataclass(slots=True)
class Search:
    """What was seen so far of one order."""

    looks: int = 0
    absences: int = 0  # In a row, after the bound.
    first_absence_ns: int = 0
    alerted_ns: int | None = None
    last_resolution: Resolution = Resolution.TOO_EARLY
    owners: dict[str, ClientOrderId | None] = field(default_factory=dict)
    """Who made executions in this symbol, by the exchange's order id; None while it does not say."""


class OrderResolution:
    """`sent_until_ns` names the latest moment, by the monotonic clock, at which each order's request can have left."""

    def __init__(
        self,
        context: Context,
        exchange: Exchange,
        positions: AccountPositions,
        *,
        recv_window_ms: int,
        alone_since_ns: int,
    ) -> None:
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._exchange = exchange
        self._alone_since_ns = alone_since_ns
        self._positions = positions
        self._window_ns = (recv_window_ms + ACCEPTANCE_MARGIN_MS) * 1_000_000
        self.sent_until_ns: dict[str, int] = {}

    def intended(self, intent: OrderIntent, at_ms: int) -> OrderIntended:
        """The intent with what is not ours in its symbol: after a restart, with the order in flight, nobody could tell any more."""
        learned = self._positions.learned(intent.symbol)
        if learned is None:
            return OrderIntended(at_ms=at_ms, intent=intent)
        return OrderIntended(at_ms=at_ms, intent=intent, others_held=learned[0], others_held_ms=learned[1])

    def past_bound_ms(self, order: OrderState) -> int:
        """How long the exchange has been unable to accept the request; negative while it still might."""
        # What we found in the journal was sent by a predecessor, who was dead when the journal became ours. Its intents' times are by
        # a wall clock that may have jumped since; the monotonic one cannot shorten the wait.
        left_by_ns = self.sent_until_ns.get(order.intent.client_order_id, self._alone_since_ns)
        return (self._clock.monotonic_ns() - left_by_ns - self._window_ns) // 1_000_000

    async def absent(self, order: OrderState, search: Search) -> Evidence | None:
        """An order query said that it does not exist: the evidence when that completes the proof of its death."""
        now_ns = self._clock.monotonic_ns()
        if self.past_bound_ms(order) <= 0:
            return None
        if search.absences == 0:
            search.first_absence_ns = now_ns
        search.absences += 1
        if search.absences < LOOKS_MIN or now_ns - search.first_absence_ns < SETTLE_MS * 1_000_000:
            return None
        try:
            evidence = await self._gather(order, search)
        except (OutcomeUnknown, Unreachable):
            return None  # A failed look-up is not an absence.
        search.last_resolution = judge(evidence)
        if search.last_resolution is Resolution.DEAD and order.status in FATE_UNKNOWN:
            return evidence
        self._alert_if_stuck(order, search, evidence)
        return None

    async def _gather(self, order: OrderState, search: Search) -> Evidence:
        intent, book = order.intent, self._book
        resting = await self._exchange.open_orders()
        before = book.positions().get(intent.symbol, ZERO)
        positions = await self._exchange.positions()
        fills = await self._executions(order, search)
        # No await from here on: what has become ours meanwhile is in the book.
        ours = book.positions().get(intent.symbol, ZERO)
        at_exchange = positions[intent.symbol].quantity if intent.symbol in positions else ZERO
        unclaimed = {
            fill.exchange_order_id
            for fill in fills
            if fill.side is intent.side
            and fill.at_ms >= self._asked_from_ms(order)
            and search.owners.get(fill.exchange_order_id) in {None, intent.client_order_id}
        }
        others = [fill for fill in fills if fill.exchange_order_id not in unclaimed]
        in_symbol = [known for known in book.orders.values() if known.intent.symbol == intent.symbol]
        in_flight = [known for known in in_symbol if not known.is_settled and known is not order]
        unknown = [order, *(known for known in in_flight if known.status in FATE_UNKNOWN)]
        return Evidence(
            past_bound_ms=self.past_bound_ms(order),
            absences=search.absences,
            absent_for_ms=(self._clock.monotonic_ns() - search.first_absence_ns) // 1_000_000,
            is_resting=any(report.client_order_id == intent.client_order_id for report in resting),
            unexplained_executions=len(unclaimed),
            working_orders=len(in_flight) - len(unknown) + 1,
            unknown_buys=sum((o.intent.quantity for o in unknown if o.intent.side is Side.BUY), ZERO),
            unknown_sells=sum((o.intent.quantity for o in unknown if o.intent.side is Side.SELL), ZERO),
            position_change=self._change(order, at_exchange - ours, others) if before == ours else None,
        )

    def _asked_from_ms(self, order: OrderState) -> int:
        """By the exchange's clock, before the intent."""
        if order.others_held is not None:
            return order.others_held[1] - LOOK_BACK_MS
        return order.intended_ms + self._exchange.clock_offset_ms() - LOOK_BACK_MS

    async def _executions(self, order: OrderState, search: Search) -> list[Fill]:
        """Those in the symbol that no order we know of explains; their owners go into the search.

        Until the exchange names the owner of such a one, it may as well be our order, which a slower part of it still denies.
        """
        intent, since_ms = order.intent, self._asked_from_ms(order)
        learned = self._others_held(order)
        if learned is not None:
            since_ms = min(since_ms, learned[1] - LOOK_BACK_MS)
        fills = await self._positions.executions.listed(intent.symbol, since_ms)
        for fill in fills:
            name = fill.exchange_order_id
            if fill.side is intent.side and search.owners.get(name) is None and not self._is_ours(fill):
                search.owners[name] = await self._exchange.owner_of(intent.symbol, name)
        return [fill for fill in fills if not self._is_ours(fill)]

    def _is_ours(self, fill: Fill) -> bool:
        book = self._book
        return book.knows_fill(fill) or any(
            fill.exchange_order_id == known.exchange_order_id for known in book.orders.values()
        )

    def _change(self, order: OrderState, gap: Decimal, others: list[Fill]) -> Decimal:
        """What of the gap between the exchange's position and ours nobody else explains.

        Executions in the very moment of the last comparison may or may not be in it: the kindest reading counts. Before the first
        comparison (a start with orders in flight) that moment is any, and what was others' is taken for nothing.
        """
        learned = self._others_held(order)
        others = sorted(others, key=lambda fill: fill.at_ms)
        if learned is not None:
            theirs, at_ms = learned
            gap -= theirs + _signed([fill for fill in others if fill.at_ms > at_ms + SAME_MOMENT_MS])
            others = [fill for fill in others if -REPLICA_LAG_MS <= fill.at_ms - at_ms <= SAME_MOMENT_MS]
        return min((gap - _signed(others[first:]) for first in range(len(others) + 1)), key=abs)

    def _others_held(self, order: OrderState) -> tuple[Decimal, int] | None:
        """As known before the order was intended, else as learned since; the time is the exchange's."""
        return order.others_held or self._positions.learned(order.intent.symbol)

    def _alert_if_stuck(self, order: OrderState, search: Search, evidence: Evidence) -> None:
        """Some evidence no waiting makes clearer."""
        if search.last_resolution not in UNDECIDABLE or evidence.absent_for_ms < ALERT_AFTER_MS:
            return
        now_ns = self._clock.monotonic_ns()
        if search.alerted_ns is not None and now_ns - search.alerted_ns < ALERT_EVERY_MS * 1_000_000:
            return
        search.alerted_ns = now_ns
        self._log.emit(
            events.ORDER_EVIDENCE_CONFLICTING,
            pair_id=order.intent.pair_id,
            trade_id=order.intent.trade_id,
            client_order_id=order.intent.client_order_id,
            symbol=order.intent.symbol,
            verdict=str(search.last_resolution),
            **{name: str(value) for name, value in msgspec.structs.asdict(evidence).items()},
        )


def _signed(executions: list[Fill]) -> Decimal:
    return sum((fill.side.sign * fill.quantity for fill in executions), ZERO)
