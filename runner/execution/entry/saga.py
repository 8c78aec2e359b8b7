"""From two intents to one hedged trade, or back to nothing: the opening saga."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.completion import Action, Choice, Option, choose, relief_of
from domain.entries import TradeAdvanced, TradeIntended
from domain.guards import DenialCode
from domain.legs import LegState, Plan, opening_plan, standing_of
from domain.orders import LegName, OrderIntent, client_order_id_of
from domain.pairs import ExitReason, TradeStatus
from domain.resting import Ending
from domain.trades import OrderState, TradeState
from runner import events
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange, Rules
from runner.execution.context import Context
from runner.execution.entry.completion import PURPOSE_OF, CompletionPlanner
from runner.execution.exit.saga import ExitSaga
from runner.execution.orders.store import TradeStore
from runner.execution.orders.tracker import OrderTracker
from runner.tasks import cancel_all

LOOK_SECONDS = 0.25
"""How often the budget is looked at while an order's fate is open."""
CLOCK_SECONDS = 0.001
"""The clock's resolution: a shorter wait would see the same budget again."""
HALF = 0.5
LEGS_TO_CANCEL = {Plan.CANCEL_A: LegName.A, Plan.CANCEL_B: LegName.B}
LEGS_TO_RELIEVE = {Plan.UNWIND_A: LegName.A, Plan.UNWIND_B: LegName.B}


@dataclass(frozen=True, slots=True)
class Opened:
    """How an entry ended."""

    hedged: bool
    refusal: str = ""
    unfilled: Ending | DenialCode | None = None  # Nobody took the order that rested; why it was withdrawn.


class EntrySaga:
    """Sends both legs and brings them to hedged or flat."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: Exchange,
        store: TradeStore,
        tracker: OrderTracker,
        exit_saga: ExitSaga,
        planner: CompletionPlanner,
        rules: Rules,
        naked_notional_usd_seconds_max: float,
    ) -> None:
        self._book, self._clock, self._log = context.book, context.clock, context.log
        self._exchange = exchange
        self._store = store
        self._tracker = tracker
        self._exit_saga = exit_saga
        self._rules = rules
        self._budget_usd_seconds = naked_notional_usd_seconds_max
        self._planner = planner

    async def open(self, plan: TradeIntended, intents: Sequence[OrderIntent]) -> Opened:
        """Raises: DuplicateEntry (nothing was sent), JournalBroken."""
        self._store.drive(plan.trade_id)
        try:
            await self._send(intents, plan)
        except BaseException:
            if plan.trade_id not in self._book.trades:
                self._store.release(plan.trade_id)
            raise
        return await self.settle(self._book.trades[plan.trade_id])

    async def settle(self, trade: TradeState) -> Opened:
        """Take up an opening trade wherever it stands, however its entry orders came about. Also the way back in after a crash.

        Each turn starts from what the journal holds: all orders concluded, then hedged, nothing, or a choice that is journaled
        together with the order it makes.
        """
        self._store.drive(trade.trade_id)
        while True:
            if not all(self._rules.knows(symbol) for symbol in trade.symbols):
                return await self._roll_back(trade, "a contract is listed no more")
            await self._all_known(trade)
            standing = self._standing(trade)
            plan = opening_plan(standing[LegName.A], standing[LegName.B], budget_spent=False)
            if trade.status is not TradeStatus.OPENING:
                return await self._roll_back(trade, "the budget was spent")
            if plan is Plan.NOTHING and trade.is_flat:
                await self._finish(trade)
                return Opened(hedged=False, refusal=self._refusal(trade))
            if plan is not Plan.BALANCE:
                return await self._roll_back(trade, str(plan))
            now = self._planner.opening_now(trade)
            if now.is_balanced:
                await self._opened(trade)
                return Opened(hedged=True)
            choice = choose(now)
            self._log_choice(trade, choice)
            if choice.chosen.action is Action.UNWIND:
                await self._store.establish(self._step(trade, Action.UNWIND, choice.as_facts()))
                return await self._roll_back(trade, "the cheapest way out")
            await self._send(
                [self._order_of(trade, choice.chosen)], self._step(trade, choice.chosen.action, choice.as_facts())
            )

    async def _send(self, intents: Sequence[OrderIntent], journaled_with: TradeIntended | TradeAdvanced) -> None:
        began_ns = self._clock.monotonic_ns()
        await self._tracker.send(intents, journaled_with)
        self._planner.took((self._clock.monotonic_ns() - began_ns) / 1e9)

    # What is known

    @staticmethod
    def _orders(trade: TradeState, leg: LegName) -> list[OrderState]:
        return [order for order in trade.orders.values() if order.intent.leg is leg]

    def _standing(self, trade: TradeState) -> dict[LegName, LegState]:
        """By what is held, not by what was ordered; a leg is working until its last execution is booked."""
        standing = {}
        for leg in LegName:
            orders = self._orders(trade, leg)
            if any(not order.is_settled for order in orders):
                standing[leg] = LegState.WORKING
            else:
                last = orders[-1].status if orders else None
                standing[leg] = LegState.GONE if last is None else standing_of(last, trade.held[leg])
        return standing

    async def _all_known(self, trade: TradeState) -> None:
        """Conclude both legs side by side. When one is gone for good, stop the other before it fills; when the budget of unhedged
        notional x seconds is spent, take back what stands alone and go on resolving the other."""
        concluding = [
            asyncio.create_task(self._tracker.conclude(self._orders(trade, leg)))
            for leg in LegName
            if any(not order.is_settled for order in self._orders(trade, leg))
        ]
        cancelling: dict[LegName, asyncio.Task[None]] = {}
        relief: asyncio.Task[None] | None = None
        is_logged = False
        try:
            while waiting := [task for task in concluding if not task.done()]:
                standing = self._standing(trade)
                spent = self._budget_is_spent(trade)
                if spent and not is_logged:
                    is_logged = True
                    self._log_spent(trade)
                plan = opening_plan(standing[LegName.A], standing[LegName.B], budget_spent=spent)
                alone = LEGS_TO_RELIEVE.get(plan)
                if alone is not None and (relief is None or relief.done()):
                    if relief is not None:
                        relief.result()
                    relief = asyncio.create_task(self._relieve(trade, alone))
                for leg in self._legs_to_cancel(plan, standing, spent=spent) - cancelling.keys():
                    # Beside all else: a cancel without an answer must not keep anything waiting.
                    cancelling[leg] = asyncio.create_task(self._cancel(self._orders(trade, leg)))
                await asyncio.wait(waiting, timeout=self._look_seconds(trade), return_when=asyncio.FIRST_COMPLETED)
            for task in [*concluding, *(task for task in cancelling.values() if task.done())]:
                task.result()
            if relief is not None:
                await relief
        finally:
            await cancel_all(*concluding, *cancelling.values(), relief)

    @staticmethod
    def _legs_to_cancel(plan: Plan, standing: dict[LegName, LegState], *, spent: bool) -> set[LegName]:
        if spent:
            return {leg for leg in LegName if standing[leg] is LegState.WORKING}
        leg = LEGS_TO_CANCEL.get(plan)
        return set() if leg is None else {leg}

    async def _cancel(self, orders: Sequence[OrderState]) -> None:
        for order in orders:
            if order.is_over:
                continue
            try:
                report = await self._exchange.cancel(order.intent.symbol, order.intent.client_order_id)
            except (OutcomeUnknown, Unreachable) as failure:
                self._log.emit(events.CANCEL_OUTCOME_UNKNOWN, trade_id=order.intent.trade_id, why=str(failure))
                continue
            if report is not None:
                await self._store.take_report(order, report, "cancel")

    # The budget

    def _budget_is_spent(self, trade: TradeState) -> bool:
        if trade.naked_notional_usd <= 0:
            return False
        return trade.naked_notional_usd_seconds(self._clock.now_ms()) >= self._budget_usd_seconds

    def _look_seconds(self, trade: TradeState) -> float:
        """Until the budget may be spent; more often than that, because executions arrive meanwhile."""
        naked_usd = float(trade.naked_notional_usd)
        left = self._budget_usd_seconds - trade.naked_notional_usd_seconds(self._clock.now_ms())
        return min(LOOK_SECONDS, max(CLOCK_SECONDS, left / naked_usd)) if naked_usd > 0 and left > 0 else LOOK_SECONDS

    def _spent_facts(self, trade: TradeState) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        return {
            "naked_notional_usd_seconds": round(trade.naked_notional_usd_seconds(now_ms), 1),
            "naked_notional_usd_seconds_max": self._budget_usd_seconds,
            "held_a": str(trade.held[LegName.A]),
            "held_b": str(trade.held[LegName.B]),
            "open": [order.intent.client_order_id for order in trade.unsettled()],
        }

    def _log_spent(self, trade: TradeState) -> None:
        facts = self._spent_facts(trade)
        self._log.emit(events.UNHEDGED_BUDGET_EXCEEDED, pair_id=trade.pair_id, trade_id=trade.trade_id, **facts)

    async def _relieve(self, trade: TradeState, leg: LegName) -> None:
        """Take back what this leg holds without the other leg, whose fate is still open. What that one turns out to hold is taken
        back once it is known. Nothing can be done while the excess is on the very leg whose order is open."""
        now = self._planner.opening_now(trade)
        trim = relief_of(now)
        if trim.leg is not leg:
            return
        if trim.obstacle is None:
            await self._send(
                [self._order_of(trade, trim)], self._step(trade, Action.TRIM, {"budget": self._spent_facts(trade)})
            )
            await self._tracker.conclude(self._orders(trade, leg))
            return
        if now.gap.error < HALF:
            return  # The other leg holds more than is missing: closing all of it would bare more than it covers.
        if trade.status is TradeStatus.OPENING:
            await self._store.establish(self._step(trade, Action.UNWIND, {"budget": self._spent_facts(trade)}))
        await self._exit_saga.close(trade, reason=ExitReason.ROLLED_BACK, exit_z=None, legs=(leg,))

    # Ways out

    def _order_of(self, trade: TradeState, option: Option) -> OrderIntent:
        assert option.leg is not None  # Only an unwind names no order.
        purpose = PURPOSE_OF[option.action]
        attempt = trade.attempts(option.leg, purpose)
        return OrderIntent(
            client_order_id=client_order_id_of(trade.trade_id, option.leg, purpose, attempt),
            trade_id=trade.trade_id,
            pair_id=trade.pair_id,
            leg=option.leg,
            purpose=purpose,
            symbol=trade.symbol_of(option.leg),
            side=option.side,
            order_type=option.order_type,
            time_in_force=option.time_in_force,
            quantity=option.quantity,
            limit_price=option.limit_price,
            reduce_only=option.reduce_only,
            attempt=attempt,
        )

    def _step(self, trade: TradeState, action: Action, facts: dict[str, Any]) -> TradeAdvanced:
        now_ms = self._clock.now_ms()
        return TradeAdvanced(
            at_ms=now_ms,
            trade_id=trade.trade_id,
            pair_id=trade.pair_id,
            status=TradeStatus.OPENING,
            reason=action.value,
            naked_seconds=trade.naked_seconds(now_ms),
            naked_notional_usd_seconds=trade.naked_notional_usd_seconds(now_ms),
            leg_skew_ms=trade.leg_skew_ms,
            facts=facts,
        )

    def _log_choice(self, trade: TradeState, choice: Choice) -> None:
        self._log.emit(
            events.LEGS_UNEQUAL,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            chosen=str(choice.chosen.action),
            held_a=str(trade.held[LegName.A]),
            held_b=str(trade.held[LegName.B]),
            naked_usd=str(round(trade.naked_notional_usd, 2)),
            **choice.as_facts(),
        )

    async def _roll_back(self, trade: TradeState, why: str) -> Opened:
        refusal = self._refusal(trade)
        self._log.emit(
            events.ROLLING_BACK,
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            why=why,
            held_a=str(trade.held[LegName.A]),
            held_b=str(trade.held[LegName.B]),
            refusal=refusal,
        )
        await self._exit_saga.close(trade, reason=ExitReason.ROLLED_BACK, exit_z=None)
        await self._finish(trade)
        return Opened(hedged=False, refusal=refusal)

    async def _finish(self, trade: TradeState) -> None:
        await self._exit_saga.finish(trade, status=TradeStatus.ROLLED_BACK, reason=ExitReason.ROLLED_BACK, exit_z=None)

    async def _opened(self, trade: TradeState) -> None:
        now_ms = self._clock.now_ms()
        await self._store.establish(
            TradeAdvanced(
                at_ms=now_ms,
                trade_id=trade.trade_id,
                pair_id=trade.pair_id,
                status=TradeStatus.OPEN,
                reason="hedged",
                naked_seconds=trade.naked_seconds(),
                naked_notional_usd_seconds=trade.naked_notional_usd_seconds(),
                leg_skew_ms=trade.leg_skew_ms,
                facts={"hedge_error": round(trade.hedge_error, 6)},
            )
        )
        self._store.release(trade.trade_id)

    @staticmethod
    def _refusal(trade: TradeState) -> str:
        return "; ".join(
            f"{order.intent.leg}: {order.refused_for}" for order in trade.orders.values() if order.refused_for
        )
