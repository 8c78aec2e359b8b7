"""Gathers what `domain.completion` weighs: both legs of an opening trade, fresh quotes, rules, fees, the budget so far."""

from collections.abc import Callable
from decimal import Decimal

from domain.completion import Action, LegNow, OpeningNow
from domain.orders import LegName, Purpose
from domain.symbols import Symbol
from domain.trades import ZERO, TradeState
from runner.config import ExecutionSettings
from runner.exchange.port import Rules
from runner.execution.context import Context
from runner.execution.signal_port import QuoteOf

ROUND_TRIP_SECONDS = 0.25
"""Believed of a request and its executions until the first ones have been measured."""
NEWEST_WEIGHT = 0.3
PURPOSE_OF = {Action.COMPLETE: Purpose.ENTRY, Action.TRIM: Purpose.UNWIND}


class CompletionPlanner:
    """Reads the world once for each choice; decides nothing."""

    def __init__(
        self,
        context: Context,
        *,
        rules: Rules,
        quote_of: QuoteOf,
        blocked_ms: Callable[[], int],
        settings: ExecutionSettings,
        quote_age_ms_max: int,
        external_of: Callable[[Symbol], Decimal],
    ) -> None:
        self._book, self._clock = context.book, context.clock
        self._rules = rules
        self._quote_of = quote_of
        self._blocked_ms = blocked_ms
        self._settings = settings
        self._quote_age_ms_max = quote_age_ms_max
        self._external_of = external_of
        self.round_trip_seconds = ROUND_TRIP_SECONDS

    def took(self, seconds: float) -> None:
        """One more request was seen to its end; the newest weigh most."""
        self.round_trip_seconds += NEWEST_WEIGHT * (seconds - self.round_trip_seconds)

    def opening_now(self, trade: TradeState) -> OpeningNow:
        """The trade and the world as they are now."""
        plan, settings = trade.plan, self._settings
        return OpeningNow(
            side=plan.side,
            legs={leg: self._leg(trade, leg) for leg in LegName},
            hedge_ratio=Decimal(str(plan.hedge_ratio)),
            hedge_error_max=max(trade.hedge_tolerance, plan.hedge_error),
            spread_mean=plan.spread_mean,
            spread_std=plan.spread_std,
            exit_z=plan.exit_threshold,
            stop_z=plan.stop_z,
            funding_usd=float(plan.costs.get("funding_usd", 0)),
            max_slippage_pct=settings.max_slippage_pct,
            round_trip_seconds=self.round_trip_seconds,
            naked_notional_usd_seconds=trade.naked_notional_usd_seconds(self._clock.now_ms()),
            naked_notional_usd_seconds_max=settings.naked_notional_usd_seconds_max,
            balancings=trade.balancings,
            blocked_ms=self._blocked_ms(),
        )

    def _leg(self, trade: TradeState, leg: LegName) -> LegNow:
        symbol, plan = trade.symbol_of(leg), trade.plan
        quote = self._quote_of(symbol)
        if quote is not None:
            age_ms = (self._clock.monotonic_ns() - quote.received_ns) // 1_000_000
            quote = quote if age_ms <= self._quote_age_ms_max else None
        orders = [order for order in trade.orders.values() if order.intent.leg is leg]
        refusals = {}
        for action, purpose in PURPOSE_OF.items():
            meant = [order for order in orders if order.intent.purpose is purpose]
            if meant and (refusal := meant[-1].refused_for) is not None:
                refusals[action] = refusal
        return LegNow(
            side=plan.side.side_of(leg),
            planned=plan.quantity_a if leg is LegName.A else plan.quantity_b,
            held=trade.held[leg],
            decision_price=plan.price_a if leg is LegName.A else plan.price_b,
            quote=quote,
            instrument=self._rules.instrument(symbol),
            taker_fee_rate=self._rules.taker_fee_rate(symbol),
            net_position=self._book.positions().get(symbol, ZERO) + self._external_of(symbol),
            is_over=all(order.is_settled for order in orders),
            refusals=refusals,
        )
