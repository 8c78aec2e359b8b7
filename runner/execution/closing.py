"""Bringing a trade to flat: the same saga for an exit, a rollback and a lost sibling. It never gives up.

It is persisted by construction: what is still held is the fold of the journal, so a restart takes it up where it stopped.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal

from domain.edge import executable_price
from domain.entries import FillSeen, TradeAdvanced
from domain.errors import InvariantBroken, OutcomeUnknown, Unreachable
from domain.instruments import round_price_within, round_quantity
from domain.legs import CLOSING, ClosePlan, Remainder, reduce_only_is_safe
from domain.orders import (
    Fill,
    LegName,
    OrderIntent,
    OrderStatus,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
    client_order_id_of,
    is_ours,
)
from domain.pairs import ExitReason, TradeStatus
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from runner.config import ExecutionSettings
from runner.execution.desk import QuoteOf
from runner.execution.freezing import freeze_if_repeated
from runner.execution.order_driver import OrderDriver
from runner.execution.records import Records
from runner.execution.situation import closing_side
from runner.ports import Exchange, Rules

ROUND_PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
RETRY_SECONDS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 10.0)
REDUCE_ONLY_REFUSED = frozenset({-2022, -4118})
PRICE_OUT_OF_BAND = frozenset({-4131, -4016, -4024})
LADDER_STEP = Decimal("0.005")
LADDER_STEPS_MAX = 10


class Closer:
    """Closes what a trade really holds."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        records: Records,
        driver: OrderDriver,
        rules: Rules,
        quote_of: QuoteOf,
        settings: ExecutionSettings,
        doubt_rules: Callable[[Symbol, int], None] = lambda _symbol, _code: None,
    ) -> None:
        self._exchange = exchange
        self._records = records
        self._driver = driver
        self._rules = rules
        self._quote_of = quote_of
        self._settings = settings
        self._attention_after_failures = max(1, settings.max_order_retries)
        self._doubt_rules = doubt_rules

    async def close(
        self, trade: TradeState, *, reason: ExitReason, exit_z: float | None, legs: tuple[LegName, ...] = tuple(LegName)
    ) -> bool:
        """True when every named leg is flat in our books, with all executions booked. Raises: JournalBroken.

        False: it will not close now. The caller lets go of the locks for a while and calls again; `finish` refuses to end the
        trade until then. A caller that goes on to `finish` anyway loses nothing.
        """
        self._records.drive(trade.trade_id)
        await self._say(trade, TradeStatus.CLOSING, reason, exit_z)
        failures = 0
        while True:
            await self._driver.conclude(trade.unsettled())
            remainder = {leg: self._remainder(trade, leg) for leg in LegName}
            plan = CLOSING[remainder[LegName.A], remainder[LegName.B]]
            if plan is ClosePlan.DONE:
                return True
            if plan is ClosePlan.WAIT:
                raise InvariantBroken(f"{trade.trade_id}: an order is working after it was concluded")
            wanted = [leg for leg in LegName if leg in legs and remainder[leg] is Remainder.HELD]
            if not wanted:
                return True
            before = dict(trade.held)
            await self._one_round(trade, wanted, failures)
            if trade.held == before:
                failures += 1
                await self._after_failure(trade, reason, exit_z, failures)
            else:
                failures = 0

    @staticmethod
    def _remainder(trade: TradeState, leg: LegName) -> Remainder:
        if any(order.intent.leg is leg and not order.is_settled for order in trade.orders.values()):
            return Remainder.WORKING
        return Remainder.HELD if trade.held[leg] != 0 else Remainder.FLAT

    async def _one_round(self, trade: TradeState, legs: list[LegName], failures: int) -> None:
        net = await self._net_positions(trade, failures)
        if net is None:
            return
        intents = [self._intent(trade, leg, failures, net.get(trade.symbol_of(leg), ZERO)) for leg in legs]
        await self._driver.send(intents)
        await self._driver.conclude(trade.unsettled())

    async def _net_positions(self, trade: TradeState, failures: int) -> Mapping[Symbol, Decimal] | None:
        """Our own books at first, for speed; the venue's word once something went wrong."""
        if failures == 0:
            return self._records.book.positions()
        try:
            held = await self._exchange.positions()
        except (OutcomeUnknown, Unreachable) as failure:
            self._records.log.warning("positions_unknown", trade_id=trade.trade_id, why=str(failure))
            return None
        return {symbol: position.quantity for symbol, position in held.items()}

    def _intent(self, trade: TradeState, leg: LegName, failures: int, net: Decimal) -> OrderIntent:
        symbol = trade.symbol_of(leg)
        held = trade.signed_held(leg)
        side = closing_side(held)
        instrument = self._rules.instrument(symbol)
        purpose = Purpose.EXIT if failures == 0 and trade.attempts(leg, Purpose.EXIT) == 0 else Purpose.UNWIND
        attempt = trade.attempts(leg, purpose)
        last = self._last_refusal(trade, leg)
        limit_price = self._ladder_price(symbol, side, failures) if last in PRICE_OUT_OF_BAND else None
        order_type = OrderType.MARKET if limit_price is None else OrderType.LIMIT
        largest = min(instrument.quantity_max, instrument.market_quantity_max)
        quantity = min(abs(held), round_quantity(largest, instrument.quantity_step(OrderType.MARKET)))
        return OrderIntent(
            client_order_id=client_order_id_of(trade.trade_id, leg, purpose, attempt),
            trade_id=trade.trade_id,
            pair_id=trade.pair_id,
            leg=leg,
            purpose=purpose,
            symbol=symbol,
            side=side,
            order_type=order_type,
            time_in_force=None if limit_price is None else TimeInForce.IOC,
            quantity=quantity,
            limit_price=limit_price,
            reduce_only=reduce_only_is_safe(net, quantity * side.sign),
            attempt=attempt,
        )

    @staticmethod
    def _last_refusal(trade: TradeState, leg: LegName) -> int | None:
        """The code that refused this leg's latest order, if it was refused."""
        orders = [order for order in trade.orders.values() if order.intent.leg is leg]
        if not orders or orders[-1].status is not OrderStatus.REFUSED:
            return None
        code = orders[-1].last_refusal.split(" ", 1)[0]
        return int(code) if code.lstrip("-").isdigit() else None

    def _ladder_price(self, symbol: Symbol, side: Side, failures: int) -> Decimal | None:
        """A market order found no price inside the band: walk a bounded limit outward instead."""
        quote = self._quote_of(symbol)
        if quote is None:
            return None
        away = 1 + LADDER_STEP * min(failures, LADDER_STEPS_MAX) * side.sign
        touch = Decimal(str(quote.ask if side is Side.BUY else quote.bid))
        return round_price_within(touch * away, self._rules.instrument(symbol).tick, side)

    async def _after_failure(self, trade: TradeState, reason: ExitReason, exit_z: float | None, failures: int) -> None:
        for leg in LegName:
            if self._last_refusal(trade, leg) in REDUCE_ONLY_REFUSED:
                await self.adopt_foreign_exits(trade, leg)
        refusals = {str(leg): self._last_refusal(trade, leg) for leg in LegName}
        if failures == self._attention_after_failures:
            await self._say(trade, TradeStatus.ATTENTION, reason, exit_z)
            self._records.log.error(
                "leg_will_not_close",
                pair_id=trade.pair_id,
                trade_id=trade.trade_id,
                failures=failures,
                refusals=refusals,
                held_a=str(trade.held[LegName.A]),
                held_b=str(trade.held[LegName.B]),
            )
        pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
        await self._records.clock.sleep(max(pause, self._exchange.blocked_ms() / 1000))

    async def adopt_foreign_exits(self, trade: TradeState, leg: LegName) -> bool:
        """Executions that are not ours but reduced what this trade held: ADL, liquidation, delisting, a person.

        Only as much as the venue's net position shows is gone, never more than the trade holds. True when the books changed.
        """
        symbol, held = trade.symbol_of(leg), trade.signed_held(leg)
        try:
            net = await self._exchange.positions()
            fills = await self._exchange.fills(symbol, since_ms=trade.plan.at_ms)
        except (OutcomeUnknown, Unreachable) as failure:
            self._records.log.warning("positions_unknown", trade_id=trade.trade_id, why=str(failure))
            return False
        book = self._records.book
        at_venue = net[symbol].quantity if symbol in net else ZERO
        missing = (book.positions().get(symbol, ZERO) - at_venue) * int(math.copysign(1, held))
        changed = False
        ours = {order.exchange_order_id for order in book.orders.values()}
        for fill in fills:
            reduces = fill.side is closing_side(held)
            if missing <= 0 or not reduces or fill.exchange_order_id in ours or book.knows_fill(fill):
                continue
            if fill.quantity > min(missing, abs(trade.held[leg])) or not await self._is_foreign(symbol, fill):
                continue
            missing -= fill.quantity
            changed = True
            await self._records.establish(
                FillSeen(
                    at_ms=self._records.clock.now_ms(),
                    fill=fill,
                    trade_id=trade.trade_id,
                    pair_id=trade.pair_id,
                    leg=leg,
                    purpose=Purpose.EXIT,
                )
            )
            self._records.log.error(
                "leg_closed_by_others",
                pair_id=trade.pair_id,
                trade_id=trade.trade_id,
                leg=str(leg),
                symbol=symbol,
                quantity=str(fill.quantity),
            )
        return changed

    async def _is_foreign(self, symbol: Symbol, fill: Fill) -> bool:
        """True only when the venue names an owner that is not us: an order of ours whose fate is open is not foreign."""
        try:
            owner = await self._exchange.owner_of(symbol, fill.exchange_order_id)
        except (OutcomeUnknown, Unreachable) as failure:
            self._records.log.warning("positions_unknown", why=str(failure))
            return False
        return owner is not None and not is_ours(owner)

    async def _say(self, trade: TradeState, status: TradeStatus, reason: ExitReason, exit_z: float | None) -> None:
        if trade.status is status:
            return
        now_ms = self._records.clock.now_ms()
        prices = {leg: self._decision_price(trade, leg) for leg in LegName if status is TradeStatus.CLOSING}
        await self._records.establish(
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
            )
        )

    def _decision_price(self, trade: TradeState, leg: LegName) -> Decimal | None:
        """What this leg would fetch now: the exit's slippage is measured from it."""
        quote, held = self._quote_of(trade.symbol_of(leg)), trade.signed_held(leg)
        return None if quote is None or held == 0 else Decimal(str(executable_price(quote, closing_side(held))))

    async def finish(self, trade: TradeState, *, status: TradeStatus, reason: ExitReason, exit_z: float | None) -> bool:
        """Journal the end of a trade that is flat. False: it cannot end yet; let go of the locks, then close again."""
        if not trade.is_flat:
            return False
        await self._say(trade, status, reason, exit_z)
        self._records.release(trade.trade_id)
        if status is TradeStatus.ROLLED_BACK:
            await freeze_if_repeated(self._records, self._settings, trade.pair_id)
        return True


def round_pause_seconds(rounds: int) -> float:
    """How long the symbols are left to others before the next round of a close that would not end."""
    return ROUND_PAUSES_SECONDS[min(rounds, len(ROUND_PAUSES_SECONDS)) - 1]
