"""One entry while a leg of it rests: quoted, hedged as it fills, chased, withdrawn.

One loop decides, several requests may be on their way: an exchange that does not answer must not keep a fill from being hedged.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from domain.entries import TradeIntended
from domain.errors import DuplicateEntry, InvariantBroken, JournalBroken
from domain.guards import DenialCode
from domain.instruments import order_problem, round_price_within
from domain.orders import LegName, OrderIntent, OrderStatus, Purpose, client_order_id_of
from domain.refusals import RefusalKind
from domain.resting import (
    STEPS,
    Ending,
    RestingState,
    Step,
    Wish,
    joined_price,
    quantity_to_take,
    smallest_order,
    touch_is_away,
)
from domain.trades import ZERO, OrderState
from runner import events
from runner.config import ExecutionSettings
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange, Rules
from runner.execution.context import Context
from runner.execution.entry.dead_man_switch import Watch
from runner.execution.entry.pre_trade_check import RestingLeg
from runner.execution.orders.store import TradeStore
from runner.execution.orders.tracker import OrderTracker
from runner.execution.signal_port import QuoteOf
from runner.execution.symbol_locks import SymbolLocks
from runner.tasks import cancel_all

POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
"""How often a resting order is looked up beside the user stream, which may be silent with its socket open."""
HEDGE_SECONDS_MAX = 1.0
"""A hedge without an answer for so long ends the resting: no more may fill until that one's fate is known."""

Objection = Callable[[RestingLeg], DenialCode | None]
"""Why the entry may not go on now; None when it may."""

Why = Ending | DenialCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a resting entry works with."""

    context: Context
    exchange: Exchange
    store: TradeStore
    tracker: OrderTracker
    rules: Rules
    quote_of: QuoteOf
    locks: SymbolLocks
    settings: ExecutionSettings


@dataclass(slots=True, kw_only=True)
class Report:
    """What goes to the ledger about it."""

    quotes: int = 0  # Orders placed, the first included.
    post_only_refused: int = 0
    hedges: int = 0
    ended: Why | None = None
    unhedged_usd_seconds: float = 0.0
    judged: set[str] = field(default_factory=set)  # Client ids whose end has been counted.
    withdrawn: set[str] = field(default_factory=set)


class PostOnlyEntry:
    """One entry from its first quote to nothing resting any more."""

    def __init__(
        self,
        tools: Tools,
        plan: TradeIntended,
        intents: Sequence[OrderIntent],
        objection: Objection,
        watch: Watch,
    ) -> None:
        self._tools = tools
        self._store = tools.store
        self._book, self._clock, self._log = tools.context.book, tools.context.clock, tools.context.log
        self._settings = tools.settings
        self._plan = plan
        # The one rests; the other is the pattern of its hedges.
        self._first, self._pattern = sorted(intents, key=lambda intent: not intent.rests)
        self._objection = objection
        self._watch = watch
        self.report = Report()
        self._planned = {LegName.A: plan.quantity_a, LegName.B: plan.quantity_b}
        self._acting: asyncio.Task[Any] | None = None  # Placing or withdrawing the resting order.
        self._hedging: asyncio.Task[Any] | None = None
        self._looking: asyncio.Task[Any] | None = None
        self._began = self._hedge_began = self._quoted_at = self._measured_at = self._looked_at = self._seconds()
        self._hedge_failed: Ending | None = None

    # Life

    async def run(self) -> None:
        """Until nothing rests, or until somebody else must decide. Raises: DuplicateEntry, JournalBroken."""
        trade_id = self._plan.trade_id
        self._store.drive(trade_id)
        try:
            while await self._turn():
                await self._store.changed(trade_id, POLL_SECONDS)
        except JournalBroken:
            await self._take_away()
            raise
        except DuplicateEntry as error:
            if self.report.quotes > 1 or self.report.hedges:
                raise InvariantBroken(f"{trade_id}: a client id was to be used again: {error}") from None
            raise
        finally:
            await cancel_all(self._acting, self._hedging, self._looking)
            if trade_id not in self._book.trades:
                self._store.release(trade_id)

    async def _turn(self) -> bool:
        """One look at the world, at most one new request of each kind. False when there is nothing left to do."""
        self._collect()
        self._measure()
        self._judge()
        wish, standing = self._wish(), self._standing()
        self._hedge(more_may_come=wish is not Wish.END or standing is not RestingState.NONE)
        if standing is RestingState.NONE and self._hedging is not None:
            return True  # Whether to quote again or to finish, the hedge's answer comes first.
        match STEPS[standing, wish]:
            case Step.PLACE:
                self._place()
            case Step.WITHDRAW:
                self._withdraw()
            case Step.FINISH:
                return False
            case Step.WATCH:
                self._look()
        return True

    def _collect(self) -> None:
        """Raises what a finished task raised."""
        if self._acting is not None and self._acting.done():
            task, self._acting = self._acting, None
            task.result()
        if self._looking is not None and self._looking.done():
            task, self._looking = self._looking, None
            task.result()
        if self._hedging is not None and self._hedging.done():
            task, self._hedging = self._hedging, None
            (order,) = task.result()
            if not order.is_over:
                self._hedge_failed = Ending.HEDGE_UNKNOWN
            elif order.status is OrderStatus.REFUSED:
                self._hedge_failed = Ending.HEDGE_REFUSED
            elif order.filled < order.intent.quantity:
                self._hedge_failed = Ending.HEDGE_SHORT

    def _seconds(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _spawn(self, work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        return asyncio.create_task(work, name=f"{what}-{self._plan.trade_id}")

    # What is

    def _orders(self, leg: LegName) -> list[OrderState]:
        trade = self._book.trades.get(self._plan.trade_id)
        return [] if trade is None else [order for order in trade.orders.values() if order.intent.leg is leg]

    def _order(self) -> OrderState | None:
        """The resting order that is not over. At most one, unless the exchange revives what it had refused."""
        return next((order for order in self._orders(self._first.leg) if not order.is_over), None)

    def _filled(self, leg: LegName) -> Decimal:
        return sum((order.filled for order in self._orders(leg)), ZERO)

    def _standing(self) -> RestingState:
        if self._acting is not None:
            return RestingState.BUSY
        order = self._order()
        if order is None:
            return RestingState.NONE
        return (
            RestingState.UNKNOWN
            if order.status in {OrderStatus.INTENDED, OrderStatus.UNKNOWN}
            else RestingState.WORKING
        )

    def _measure(self) -> None:
        """The price of waiting to hedge: notional that stands alone, times seconds."""
        now = self._seconds()
        seconds, self._measured_at = now - self._measured_at, now
        self.report.unhedged_usd_seconds += self._unhedged_usd() * seconds

    def _unhedged_usd(self) -> float:
        quote = self._tools.quote_of(self._first.symbol)
        if quote is None:
            return 0.0
        ratio = Decimal(str(self._plan.hedge_ratio))
        gap_a = self._filled(LegName.A) - ratio * self._filled(LegName.B)
        gap = gap_a if self._first.leg is LegName.A else gap_a / ratio
        return float(abs(gap)) * quote.mid

    def _judge(self) -> None:
        """What became of the latest resting order, said once."""
        orders = self._orders(self._first.leg)
        if not orders or not orders[-1].is_over or orders[-1].intent.client_order_id in self.report.judged:
            return
        order, name = orders[-1], orders[-1].intent.client_order_id
        self.report.judged.add(name)
        if order.refused_for is not None and order.refused_for.kind is RefusalKind.WOULD_TAKE:
            self.report.post_only_refused += 1
        elif order.status is OrderStatus.EXPIRED and order.filled < order.intent.quantity:
            self.report.post_only_refused += 1  # Accepted, and found to take a moment later.
        elif order.status is OrderStatus.REFUSED:
            self._end(Ending.REFUSED)
        elif order.status is OrderStatus.DEAD:
            self._end(Ending.LOST)
        elif order.status is OrderStatus.CANCELLED and name not in self.report.withdrawn:
            self._end(Ending.CANCELLED_BY_OTHERS)

    def _end(self, why: Why | None) -> None:
        self.report.ended = self.report.ended or why

    # What we want

    def _wish(self) -> Wish:
        if self._hedging is not None and self._seconds() - self._hedge_began > HEDGE_SECONDS_MAX:
            self._end(Ending.HEDGE_SLOW)
        if self._hedge_failed:
            self._end(self._hedge_failed)
            return Wish.YIELD
        order = self._order()
        if not self.report.ended:
            self._end(self._why_end(order))
        if self.report.ended:
            return Wish.END
        if order is None:
            return Wish.REST
        return Wish.MOVE if self._is_away(order) else Wish.REST

    def _why_end(self, order: OrderState | None) -> Why | None:
        settings, symbols = self._settings, (self._plan.symbol_a, self._plan.symbol_b)
        rest = self._planned[self._first.leg] - self._filled(self._first.leg)
        if rest <= 0:
            return Ending.FILLED
        if self._tools.locks.wanted(symbols):
            return Ending.EXIT_WAITS
        if self._seconds() - self._began > settings.limit_wait_seconds:
            return Ending.WAITED
        if self._watch.lapsed:
            return Ending.DEAD_MAN_LAPSED
        if self.report.unhedged_usd_seconds > settings.naked_notional_usd_seconds_max:
            return Ending.NAKED_BUDGET
        # The guards are asked at the price that counts.
        if why := self._objection(RestingLeg(self._first.leg, None if order is None else order.intent.limit_price)):
            return why
        chases_left = settings.limit_chases_max - self.report.quotes  # After the next quote.
        if order is not None:
            return Ending.CHASES if chases_left < 0 and self._is_away(order) else None
        if self._acting is not None:
            return None  # The first quote is on its way.
        if chases_left < 0:
            return Ending.CHASES
        return Ending.REMAINDER if self._next_quote(rest) is None else None

    def _is_away(self, order: OrderState) -> bool:
        """The touch has left us, and the last quote has had its share of the time: a flicker is not chased."""
        quote, limit = self._tools.quote_of(self._first.symbol), order.intent.limit_price
        if quote is None or limit is None or not self._paced():
            return False
        return touch_is_away(limit, quote, self._first.side)

    def _paced(self) -> bool:
        pace = self._settings.limit_wait_seconds / (self._settings.limit_chases_max + 1)
        return self._seconds() - self._quoted_at >= pace

    # What we do

    def _next_quote(self, rest: Decimal) -> OrderIntent | None:
        """The next resting order; None when the rest is too small for one, or nobody quotes."""
        quote = self._tools.quote_of(self._first.symbol)
        if quote is None:
            return None
        instrument = self._tools.rules.instrument(self._first.symbol)
        intent = self._numbered(
            self._first, quantity=rest, limit_price=joined_price(quote, self._first.side, instrument.tick)
        )
        return None if order_problem(intent, instrument, Decimal(str(quote.mid))) else intent

    def _numbered(self, pattern: OrderIntent, *, quantity: Decimal, limit_price: Decimal) -> OrderIntent:
        attempt = len([order for order in self._orders(pattern.leg) if order.intent.purpose is Purpose.ENTRY])
        return msgspec.structs.replace(
            pattern,
            client_order_id=client_order_id_of(pattern.trade_id, pattern.leg, Purpose.ENTRY, attempt),
            quantity=quantity,
            limit_price=limit_price,
            attempt=attempt,
        )

    def _place(self) -> None:
        intent = self._next_quote(self._planned[self._first.leg] - self._filled(self._first.leg))
        if intent is None:
            return
        orders = self._orders(self._first.leg)
        refused = bool(orders) and orders[-1].intent.client_order_id not in self.report.withdrawn
        if refused and orders[-1].intent.limit_price == intent.limit_price and not self._paced():
            return  # The same price would be refused again until the quote that refused it has reached us.
        self.report.quotes += 1
        self._quoted_at = self._seconds()
        with_it = () if orders else (self._plan,)
        self._acting = self._spawn(self._tools.tracker.send([intent], *with_it), "quote")

    def _withdraw(self) -> None:
        order = self._order()
        assert order is not None  # The table: only what is alive is withdrawn.
        self.report.withdrawn.add(order.intent.client_order_id)
        self._acting = self._spawn(self._tools.tracker.conclude([order]), "withdraw")

    def _hedge(self, *, more_may_come: bool) -> None:
        """Take what the fills call for, one order at a time."""
        if self._hedging is not None or self._hedge_failed or not self._filled(self._first.leg):
            return
        symbol, side = self._pattern.symbol, self._pattern.side
        quote = self._tools.quote_of(symbol)
        if quote is None:
            self._hedge_failed = Ending.HEDGE_UNPRICED
            return
        instrument = self._tools.rules.instrument(symbol)
        touch = Decimal(str(quote.ask if side.sign > 0 else quote.bid))
        worst = touch * (1 + Decimal(str(self._settings.max_slippage_pct)) * side.sign)
        limit_price = round_price_within(worst, instrument.tick, side)
        mid = Decimal(str(quote.mid))
        quantity = quantity_to_take(
            resting=self._first.leg,
            filled={leg: self._filled(leg) for leg in LegName},
            planned=self._planned,
            hedge_ratio=Decimal(str(self._plan.hedge_ratio)),
            instrument=instrument,
            smallest=smallest_order(instrument, min(limit_price, mid)),
            more_may_come=more_may_come,
        )
        if quantity == 0:
            return
        intent = self._numbered(self._pattern, quantity=quantity, limit_price=limit_price)
        self.report.hedges += 1
        self._hedge_began = self._seconds()
        self._hedging = self._spawn(self._tools.tracker.send([intent]), "hedge")

    def _look(self) -> None:
        order, now = self._order(), self._seconds()
        if order is None or self._acting is not None or self._looking is not None:
            return
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        self._looking = self._spawn(self._tools.tracker.look(order), "look")

    async def _take_away(self) -> None:
        """The journal is broken: nothing can be recorded any more, but nothing of ours may go on resting."""
        order = self._order()
        if order is None:
            return
        try:
            await self._tools.exchange.cancel(order.intent.symbol, order.intent.client_order_id)
        except (OutcomeUnknown, Unreachable) as failure:
            self._log.emit(events.CANCEL_OUTCOME_UNKNOWN, trade_id=self._plan.trade_id, why=str(failure))
