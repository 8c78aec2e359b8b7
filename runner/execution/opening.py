"""From two intents to one hedged trade, or back to nothing: the opening saga."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from domain.entries import TradeAdvanced, TradeIntended
from domain.errors import OutcomeUnknown, Unreachable
from domain.instruments import round_quantity
from domain.legs import OPENING, Plan, Standing, hedge_gap, reduce_only_is_safe, standing_of
from domain.orders import (
    LegName,
    OrderIntent,
    OrderType,
    Purpose,
    client_order_id_of,
)
from domain.pairs import ExitReason, TradeStatus
from domain.trades import ZERO, OrderState, TradeState
from runner.execution.closing import Closer
from runner.execution.order_driver import OrderDriver
from runner.execution.records import Records
from runner.execution.situation import closing_side
from runner.ports import Exchange, Rules

TRIMS_MAX = 3


@dataclass(frozen=True, slots=True)
class Opened:
    """How an entry ended."""

    hedged: bool
    refusal: str = ""
    unfilled: str = ""  # Nobody took the order that rested; why it was withdrawn.


class Opener:
    """Sends both legs and brings them to hedged or flat."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        records: Records,
        driver: OrderDriver,
        closer: Closer,
        rules: Rules,
        hedge_error_max: float,
    ) -> None:
        self._exchange = exchange
        self._records = records
        self._driver = driver
        self._closer = closer
        self._rules = rules
        self._hedge_error_max = hedge_error_max

    async def open(self, plan: TradeIntended, intents: Sequence[OrderIntent]) -> Opened:
        """Raises: DuplicateEntry (nothing was sent), JournalBroken."""
        self._records.drive(plan.trade_id)
        try:
            await self._driver.send(intents, plan)
        except BaseException:
            if plan.trade_id not in self._records.book.trades:
                self._records.release(plan.trade_id)
            raise
        return await self.settle(self._records.book.trades[plan.trade_id])

    async def settle(self, trade: TradeState) -> Opened:
        """Take up an opening trade wherever it stands. Also the way back in after a crash."""
        self._records.drive(trade.trade_id)
        await self._both_known(trade)
        await self._driver.conclude(trade.unsettled())  # A trim that a crash left in flight.
        standing = self._standing(trade)
        plan = OPENING[standing[LegName.A], standing[LegName.B]]
        refusal = self._refusal(trade)
        if plan is Plan.BALANCE and await self._balance(trade):
            await self._opened(trade)
            return Opened(hedged=True)
        if plan is Plan.NOTHING and trade.is_flat:
            await self._closer.finish(trade, status=TradeStatus.ROLLED_BACK, reason=ExitReason.ROLLED_BACK, exit_z=None)
            return Opened(hedged=False, refusal=refusal)
        self._records.log.warning(
            "rolling_back",
            pair_id=trade.pair_id,
            trade_id=trade.trade_id,
            plan=str(plan),
            held_a=str(trade.held[LegName.A]),
            held_b=str(trade.held[LegName.B]),
            refusal=refusal,
        )
        await self._closer.close(trade, reason=ExitReason.ROLLED_BACK, exit_z=None)
        await self._closer.finish(trade, status=TradeStatus.ROLLED_BACK, reason=ExitReason.ROLLED_BACK, exit_z=None)
        return Opened(hedged=False, refusal=refusal)

    def _orders(self, trade: TradeState, leg: LegName) -> list[OrderState]:
        return [
            order
            for order in trade.orders.values()
            if order.intent.leg is leg and order.intent.purpose is Purpose.ENTRY
        ]

    def _standing(self, trade: TradeState) -> dict[LegName, Standing]:
        """By what is held, not by what was ordered; a leg is working until its last execution is booked."""
        standing = {}
        for leg in LegName:
            orders = self._orders(trade, leg)
            if any(not order.is_settled for order in orders):
                standing[leg] = Standing.WORKING
            else:
                last = orders[-1].status if orders else None
                standing[leg] = Standing.GONE if last is None else standing_of(last, trade.held[leg])
        return standing

    async def _both_known(self, trade: TradeState) -> None:
        """Conclude both legs side by side; when one is gone for good, stop the other before it fills."""
        concluding = [
            asyncio.ensure_future(self._driver.conclude(self._orders(trade, leg)))
            for leg in LegName
            if any(not order.is_settled for order in self._orders(trade, leg))
        ]
        cancelled: set[LegName] = set()
        try:
            while waiting := [task for task in concluding if not task.done()]:
                standing = self._standing(trade)
                plan = OPENING[standing[LegName.A], standing[LegName.B]]
                leg = {Plan.CANCEL_A: LegName.A, Plan.CANCEL_B: LegName.B}.get(plan)
                if leg is not None and leg not in cancelled:
                    cancelled.add(leg)
                    await self._cancel(self._orders(trade, leg))
                    continue
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in concluding:
                task.result()
        finally:
            for task in concluding:
                task.cancel()
            await asyncio.gather(*concluding, return_exceptions=True)

    async def _cancel(self, orders: Sequence[OrderState]) -> None:
        for order in orders:
            if order.is_over:
                continue
            try:
                report = await self._exchange.cancel(order.intent.symbol, order.intent.client_order_id)
            except (OutcomeUnknown, Unreachable) as failure:
                self._records.log.warning("cancel_unknown", trade_id=order.intent.trade_id, why=str(failure))
                continue
            if report is not None:
                await self._records.take_report(order, report, "cancel")

    async def _balance(self, trade: TradeState) -> bool:
        """Trim what one leg holds too much of. False when no trim brings both within tolerance."""
        ratio = Decimal(str(trade.plan.hedge_ratio))
        tolerance = max(self._hedge_error_max, trade.plan.hedge_error)
        for attempt in range(TRIMS_MAX + 1):
            gap = hedge_gap(trade.held[LegName.A], trade.held[LegName.B], ratio)
            if gap.error <= tolerance:
                return True
            leg, excess = (LegName.A, gap.excess_a) if gap.excess_a > 0 else (LegName.B, gap.excess_b)
            instrument = self._rules.instrument(trade.symbol_of(leg))
            largest = min(instrument.quantity_max, instrument.market_quantity_max)
            quantity = round_quantity(min(excess, largest), instrument.quantity_step(OrderType.MARKET))
            smallest = max(instrument.quantity_min, instrument.market_quantity_min)
            if attempt == TRIMS_MAX or quantity < smallest or quantity >= trade.held[leg]:
                return False
            await self._trim(trade, leg, quantity)
        return False

    async def _trim(self, trade: TradeState, leg: LegName, quantity: Decimal) -> None:
        symbol, side = trade.symbol_of(leg), closing_side(trade.signed_held(leg))
        attempt = trade.attempts(leg, Purpose.UNWIND)
        net = self._records.book.positions().get(symbol, ZERO)
        intent = OrderIntent(
            client_order_id=client_order_id_of(trade.trade_id, leg, Purpose.UNWIND, attempt),
            trade_id=trade.trade_id,
            pair_id=trade.pair_id,
            leg=leg,
            purpose=Purpose.UNWIND,
            symbol=symbol,
            side=side,
            order_type=OrderType.MARKET,
            time_in_force=None,
            quantity=quantity,
            limit_price=None,
            reduce_only=reduce_only_is_safe(net, quantity * side.sign),
            attempt=attempt,
        )
        self._records.log.warning(
            "trimming", pair_id=trade.pair_id, trade_id=trade.trade_id, leg=str(leg), quantity=str(quantity)
        )
        await self._driver.conclude(await self._driver.send([intent]))

    async def _opened(self, trade: TradeState) -> None:
        now_ms = self._records.clock.now_ms()
        await self._records.establish(
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
        self._records.release(trade.trade_id)

    @staticmethod
    def _refusal(trade: TradeState) -> str:
        return "; ".join(
            f"{order.intent.leg}: {order.last_refusal}" for order in trade.orders.values() if order.last_refusal
        )
