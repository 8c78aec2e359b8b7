"""Bringing a trade to flat: the same saga for an exit, a rollback and a lost leg. It never gives up.

It is persisted by construction: what is still held, and what was tried, is the fold of the journal, so a restart takes it up
where it stopped. What to try next is a table (`domain/escalation.py`), how much of it another (`domain/pieces.py`).
"""

import asyncio
from collections.abc import Collection
from decimal import Decimal

from domain.edge import executable_price
from domain.entries import TradeAdvanced
from domain.escalation import Attempt, Escalation, Remedy, escalation_of
from domain.ladder import step_of
from domain.legs import CLOSING, LEGS_TO_CLOSE, ClosePlan, Remainder
from domain.orders import LegName, OrderIntent, OrderStatus, OrderType, Purpose, Side
from domain.pairs import ExitReason, TradeStatus
from domain.pieces import is_dust, next_piece
from domain.symbols import Symbol, TradeId
from domain.trades import OrderState, TradeState
from runner import events
from runner.exchange.port import Exchange, Rules
from runner.execution.account.positions import PERSISTS_SECONDS, AccountPositions, Agreement, Finding
from runner.execution.context import Context
from runner.execution.entry.freezing import Freezer
from runner.execution.entry.pre_trade_check import closing_side
from runner.execution.exit.child_orders import closing_order, ladder_price
from runner.execution.orders.store import TradeStore
from runner.execution.orders.tracker import OrderTracker
from runner.execution.signal_port import QuoteOf
from runner.tasks import cancel_all

LOCKED_PAUSE_SECONDS_MAX = 1.0
"""A longer wait is spent with the locks free."""
ROUND_PAUSES_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
VERIFY_PAUSES_SECONDS = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Looks at the positions while the locks are held: a slow replica needs a moment."""
VERIFY_LOCKED_SECONDS_MAX = 3.0
UNVERIFIED_CALL_SECONDS = 30.0


class ExitSaga:
    """Closes what a trade really holds."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: Exchange,
        store: TradeStore,
        tracker: OrderTracker,
        positions: AccountPositions,
        freezer: Freezer,
        rules: Rules,
        quote_of: QuoteOf,
        order_retries_max: int,
    ) -> None:
        self._clock, self._log = context.clock, context.log
        self._freezer = freezer
        self._exchange = exchange
        self._store = store
        self._tracker = tracker
        self._positions = positions
        self._rules = rules
        self._quote_of = quote_of
        self._failures_max = max(1, order_retries_max)
        self._unverified_since_ns: dict[TradeId, int] = {}
        self._troubled: dict[TradeId, set[LegName]] = {}
        """Legs that met a failure; only their progress ends a trade's `attention`."""
        self._there_since_ns: dict[tuple[TradeId, LegName], tuple[int, int]] = {}

    async def close(
        self, trade: TradeState, *, reason: ExitReason, exit_z: float | None, legs: Collection[LegName] = tuple(LegName)
    ) -> bool:
        """True when every named leg is flat in our books, with all executions booked. Raises: JournalBroken.

        False: it will not close now. The caller lets go of the locks for a while and calls again; `finish` refuses to end the
        trade until then. A caller that goes on to `finish` anyway loses nothing.
        """
        self._store.drive(trade.trade_id)
        if trade.status is not TradeStatus.ATTENTION:
            await self._advance(trade, TradeStatus.CLOSING, reason, exit_z)
        running: dict[LegName, asyncio.Task[bool]] = {}
        stuck: set[LegName] = set()
        tried: set[LegName] = set()
        held = dict(trade.held)
        try:
            while True:
                moved = {leg for leg in LegName if held[leg] != trade.held[leg]}
                if moved & self._troubled.get(trade.trade_id, set(LegName)) and trade.status is TradeStatus.ATTENTION:
                    await self._advance(trade, TradeStatus.CLOSING, reason, exit_z)  # It moves again.
                held = dict(trade.held)
                for leg in [leg for leg, task in running.items() if task.done()]:
                    if not running.pop(leg).result():
                        stuck.add(leg)
                remainder = {leg: self._remainder(trade, leg, working=leg in running) for leg in LegName}
                plan = CLOSING[remainder[LegName.A], remainder[LegName.B]]
                ready = [leg for leg in LEGS_TO_CLOSE[plan] if leg in legs and leg not in stuck]
                if len(ready) > 1 and not tried and await self._both_at_once(trade):
                    tried.update(ready)
                    continue
                for leg in legs:
                    if leg in ready:
                        running[leg] = asyncio.create_task(self._attempt(trade, leg, reason, first=leg not in tried))
                        tried.add(leg)
                    elif leg not in running and leg not in stuck and self._unsettled(trade, leg):
                        running[leg] = asyncio.create_task(self._conclude(trade, leg, reason))
                if not running:
                    return plan is ClosePlan.DONE or all(remainder[leg] is Remainder.FLAT for leg in legs)
                await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(*running.values())

    def _remainder(self, trade: TradeState, leg: LegName, *, working: bool) -> Remainder:
        if working or self._unsettled(trade, leg):
            return Remainder.WORKING
        held, symbol = trade.held[leg], trade.symbol_of(leg)
        is_flat = held == 0 or (self._rules.knows(symbol) and is_dust(held, self._rules.instrument(symbol)))
        return Remainder.FLAT if is_flat else Remainder.HELD

    @staticmethod
    def _unsettled(trade: TradeState, leg: LegName) -> list[OrderState]:
        return [order for order in trade.unsettled() if order.intent.leg is leg]

    async def conclude(self, trade: TradeState) -> None:
        """Those of its orders that the exchange can still name."""
        await self._tracker.conclude([order for order in trade.unsettled() if self._rules.knows(order.intent.symbol)])

    async def _conclude(self, trade: TradeState, leg: LegName, reason: ExitReason) -> bool:
        if not self._rules.knows(trade.symbol_of(leg)):
            return await self._conclude_unlisted(trade, leg, reason)
        await self._tracker.conclude(self._unsettled(trade, leg))
        return True

    async def _conclude_unlisted(self, trade: TradeState, leg: LegName, reason: ExitReason) -> bool:
        """The exchange may never name these orders again, and others wait for the locks: one look, then a person is alerted."""
        for order in self._unsettled(trade, leg):
            await self._tracker.look(order)
        if not self._unsettled(trade, leg):
            return True
        self._troubled.setdefault(trade.trade_id, set()).add(leg)
        if trade.status is not TradeStatus.ATTENTION:
            await self._alert(trade, self._escalation(trade, leg), reason)
        return False

    async def _both_at_once(self, trade: TradeState) -> bool:
        """Both legs in one request, by our books alone: the way of every exit that meets no trouble."""
        if not all(self._rules.knows(symbol) for symbol in trade.symbols):
            return False
        if self._orders_blocked_ms() > 0 or any(self._escalation(trade, leg).remedy is not None for leg in LegName):
            return False
        intents = []
        for leg in LegName:
            intent = self._intent(trade, leg, Escalation(), None)
            if intent is None:
                return False
            intents.append(intent)
        await self._tracker.send(intents)
        return True

    async def _attempt(self, trade: TradeState, leg: LegName, reason: ExitReason, *, first: bool) -> bool:
        """One more order for one leg. False: not now, and the wait is too long for the locks."""
        state = self._escalation(trade, leg)
        if not self._rules.knows(trade.symbol_of(leg)):
            return await self._attempt_unlisted(trade, leg, state, reason)
        await self._alert_if_due(trade, state, reason)
        pause = max(self._orders_blocked_ms() / 1000, 0.0 if first else state.pause_seconds)
        if pause > LOCKED_PAUSE_SECONDS_MAX:
            return False
        if pause > 0:
            await self._clock.sleep(pause)
        finding = None
        if state.remedy is not None and state.remedy is not Remedy.WAIT:
            self._troubled.setdefault(trade.trade_id, set()).add(leg)
            finding = await self._positions.check([trade.symbol_of(leg)], suspicious=state.is_plain)
            if finding.verdict is Agreement.CHANGED:
                return True  # Somebody else closed a part of it: look at what is held now.
            if state.is_plain and not self._is_surely_there(trade, leg, state, finding):
                return False  # It may be gone; a plain order would open the opposite.
        intent = self._intent(trade, leg, state, finding)
        if finding is not None and finding.verdict is Agreement.UNEXPLAINED and not (intent and intent.reduce_only):
            await self._unexplained(trade, finding, reason)
            return False
        if intent is None:
            return False
        await self._tracker.send([intent])
        return True

    async def _attempt_unlisted(self, trade: TradeState, leg: LegName, state: Escalation, reason: ExitReason) -> bool:
        """The exchange lists the contract no more: no order can close this leg, only news that it was settled, or a person."""
        self._troubled.setdefault(trade.trade_id, set()).add(leg)
        finding = await self._positions.check([trade.symbol_of(leg)])
        if finding.verdict is Agreement.CHANGED:
            return True
        if trade.status is not TradeStatus.ATTENTION:
            await self._alert(trade, state, reason)
        return False

    def _is_surely_there(self, trade: TradeState, leg: LegName, state: Escalation, finding: Finding) -> bool:
        """The exchange refused to reduce what its positions say is there. Of the two the positions may be the older news, so they
        are believed once they have said the same for longer than a replica is behind."""
        key, now_ns = (trade.trade_id, leg), self._clock.monotonic_ns()
        if finding.verdict is not Agreement.AGREED:
            self._there_since_ns.pop(key, None)
            return finding.verdict is Agreement.UNEXPLAINED  # Which lets reduce-only orders pass, and says so.
        failures, since_ns = self._there_since_ns.get(key, (state.failures, now_ns))
        self._there_since_ns[key] = (state.failures, since_ns if failures == state.failures else now_ns)
        return now_ns - self._there_since_ns[key][1] > PERSISTS_SECONDS * 1e9

    # One order

    def _escalation(self, trade: TradeState, leg: LegName) -> Escalation:
        """What this leg's closing orders have shown, from the journal."""
        return escalation_of(
            Attempt(
                order_type=order.intent.order_type,
                quantity=order.intent.quantity,
                filled=order.filled,
                status=order.status,
                kind=None if order.failed_for is None else order.failed_for.kind,
            )
            for order in trade.orders.values()
            if order.intent.leg is leg and order.intent.purpose is not Purpose.ENTRY and order.is_over
        )

    def _intent(
        self, trade: TradeState, leg: LegName, state: Escalation, finding: Finding | None
    ) -> OrderIntent | None:
        """The next order of a leg; None when a price is needed and nobody has one."""
        symbol, held = trade.symbol_of(leg), trade.signed_held(leg)
        known = finding is not None and finding.verdict in {Agreement.AGREED, Agreement.UNEXPLAINED}
        net = finding.net(symbol) if finding is not None and known else self._positions.expected_net(symbol)
        mark = finding.positions[symbol].mark_price if finding is not None and symbol in finding.positions else None
        side = closing_side(held)
        prices = [price for price in (mark, self._touch(symbol, side)) if price]
        instrument = self._rules.instrument(symbol)
        piece = next_piece(held=held, net=net, instrument=instrument, price=min(prices, default=None), state=state)
        side = side.opposite if piece.adds else side
        limit_price = None
        if piece.order_type is OrderType.LIMIT:
            touch = self._touch(symbol, side) or mark
            if not touch:
                return None
            limit_price = ladder_price(touch, mark or touch, side, instrument, state.ladder_step)
        if piece.adds:
            self._log.emit(
                events.LEG_ENLARGED_TO_CLOSE,
                pair_id=trade.pair_id,
                trade_id=trade.trade_id,
                leg=str(leg),
                held=str(held),
                quantity=str(piece.quantity),
            )
        return closing_order(trade, leg, side, piece, limit_price, is_first=state.remedy is None)

    def _orders_blocked_ms(self) -> int:
        return self._exchange.orders_blocked_ms(Purpose.UNWIND)

    def _touch(self, symbol: Symbol, side: Side) -> Decimal | None:
        quote = self._quote_of(symbol)
        return None if quote is None else Decimal(str(executable_price(quote, side)))

    # Alerting a person

    async def _alert_if_due(self, trade: TradeState, state: Escalation, reason: ExitReason) -> None:
        """Say it once a trade, not once a restart: the failures are counted from the journal."""
        if trade.status is not TradeStatus.ATTENTION and state.calls(self._failures_max):
            await self._alert(trade, state, reason)

    async def _alert(self, trade: TradeState, state: Escalation, reason: ExitReason) -> None:
        await self._advance(trade, TradeStatus.ATTENTION, reason, None)
        self._log.emit(
            events.LEG_CLOSE_STUCK,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            failures=state.failures,
            remedy=str(state.remedy),
            refusals={str(each): self._last_code(trade, each) for each in LegName},
            held_a=str(trade.held[LegName.A]),
            held_b=str(trade.held[LegName.B]),
        )

    @staticmethod
    def _last_code(trade: TradeState, leg: LegName) -> str | None:
        """The exchange's code that refused this leg's latest order, if it was refused."""
        orders = [order for order in trade.orders.values() if order.intent.leg is leg]
        refusal = orders[-1].failed_for if orders else None
        return None if refusal is None else refusal.code

    async def _unexplained(self, trade: TradeState, finding: Finding, reason: ExitReason) -> None:
        if trade.status is TradeStatus.ATTENTION:
            return
        await self._advance(trade, TradeStatus.ATTENTION, reason, None)
        self._log.emit(
            events.POSITION_UNEXPLAINED,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            differences={symbol: str(difference) for symbol, difference in finding.differences.items()},
        )

    async def _advance(self, trade: TradeState, status: TradeStatus, reason: ExitReason, exit_z: float | None) -> None:
        if trade.status is status:
            return
        now_ms = self._clock.now_ms()
        begins = status is TradeStatus.CLOSING and trade.status is not TradeStatus.ATTENTION
        prices = {leg: self._decision_price(trade, leg) for leg in LegName if begins}
        await self._store.establish(
            TradeAdvanced(
                at_ms=now_ms,
                trade_id=trade.trade_id,
                pair_id=trade.pair_id,
                status=status,
                reason=reason.value,
                exit_z=exit_z,
                exit_reason=reason,
                naked_seconds=trade.naked_seconds(now_ms),
                naked_notional_usd_seconds=trade.naked_notional_usd_seconds(now_ms),
                leg_skew_ms=trade.leg_skew_ms,
                price_a=prices.get(LegName.A),
                price_b=prices.get(LegName.B),
                facts=self._dust_facts(trade) if status.is_over else {},
            )
        )

    def _decision_price(self, trade: TradeState, leg: LegName) -> Decimal | None:
        """What this leg would fetch now: the exit's slippage is measured from it."""
        held = trade.signed_held(leg)
        return None if held == 0 else self._touch(trade.symbol_of(leg), closing_side(held))

    # The end

    async def finish(self, trade: TradeState, *, status: TradeStatus, reason: ExitReason, exit_z: float | None) -> bool:
        """Journal the end of a trade that is flat. False: it cannot end yet; let go of the locks, then close again.

        A rollback, and a close that met any trouble, ends only once the exchange's positions agree with our books.
        """
        if any(self._remainder(trade, leg, working=False) is not Remainder.FLAT for leg in LegName):
            return False
        if self._needs_proof(trade, status) and not await self._verified(trade, reason):
            return False
        self._unverified_since_ns.pop(trade.trade_id, None)
        self._troubled.pop(trade.trade_id, None)
        for leg in LegName:
            self._there_since_ns.pop((trade.trade_id, leg), None)
        dust = self._dust_facts(trade)
        await self._advance(trade, status, reason, exit_z)
        self._store.release(trade.trade_id)
        if dust:
            self._log.emit(events.DUST_LEFT, pair_id=trade.pair_id, trade_id=trade.trade_id, **dust)
        if status is TradeStatus.ROLLED_BACK:
            await self._freezer.after_rollback(trade)
        return True

    @staticmethod
    def _needs_proof(trade: TradeState, status: TradeStatus) -> bool:
        closing = [order for order in trade.orders.values() if order.intent.purpose is not Purpose.ENTRY]
        return status is TradeStatus.ROLLED_BACK or any(order.status is not OrderStatus.FILLED for order in closing)

    async def _verified(self, trade: TradeState, reason: ExitReason) -> bool:
        """Ask until the account agrees; for a moment with the locks held, then the caller lets go of them and asks again."""
        monotonic_ns = self._clock.monotonic_ns
        began_ns = monotonic_ns()
        finding = Finding(Agreement.UNREADABLE)
        for pause in VERIFY_PAUSES_SECONDS:
            if monotonic_ns() - began_ns > VERIFY_LOCKED_SECONDS_MAX * 1e9:
                break
            await self._clock.sleep(pause)
            finding = await self._positions.check(trade.symbols)
            if any(self._remainder(trade, leg, working=False) is not Remainder.FLAT for leg in LegName):
                return False  # A late execution, or somebody else's: there is something to close again.
            if finding.verdict is Agreement.AGREED:
                return True
        if finding.verdict is Agreement.UNEXPLAINED:
            await self._unexplained(trade, finding, reason)
        since_ns = self._unverified_since_ns.setdefault(trade.trade_id, began_ns)
        waited_seconds = (monotonic_ns() - since_ns) / 1e9
        if waited_seconds > UNVERIFIED_CALL_SECONDS and trade.status is not TradeStatus.ATTENTION:
            await self._advance(trade, TradeStatus.ATTENTION, reason, None)
            self._log.emit(
                events.FLAT_NOT_VERIFIED, pair_id=trade.pair_id, trade_id=trade.trade_id, seconds=round(waited_seconds)
            )
        return False

    def _dust_facts(self, trade: TradeState) -> dict[str, str]:
        """What is left of a leg below one lot step, and what it is worth: no order can name it."""
        facts = {}
        for leg in LegName:
            if trade.held[leg] != 0:
                facts[f"dust_{leg}"] = str(trade.signed_held(leg))
                price = self._touch(trade.symbol_of(leg), closing_side(trade.signed_held(leg)))
                facts[f"dust_{leg}_usd"] = "" if price is None else str(abs(trade.held[leg]) * price)
        return facts

    def round_pause_seconds(self, rounds: int) -> float:
        """How long the symbols are left to others before the next round of a close that would not end."""
        pause = step_of(ROUND_PAUSES_SECONDS, rounds - 1)
        return max(pause, self._exchange.blocked_ms() / 1000)
