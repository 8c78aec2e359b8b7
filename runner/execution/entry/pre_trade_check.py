"""Gathers the world for the guards: everything they look at is read here, once, before any of them runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from domain.completion import exempt_from_notional
from domain.decide import time_stop_at_ms
from domain.edge import Edge, Resting, edge_of, executable_price
from domain.entries import TradeIntended
from domain.guards import Approved, Limits, PreTradeSnapshot
from domain.instruments import leverage_problem, order_problem, round_price_within
from domain.orders import (
    LegName,
    OrderIntent,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
    client_order_id_of,
    trade_id_of,
)
from domain.pairs import PairConfig, PairSide, SignalType, TradingSignal
from domain.quotes import Quote
from domain.reasons import Reason
from domain.resting import joined_price, less_liquid_leg
from domain.sizing import Sized, TooLarge, TooSmall, size_pair
from domain.spread import SpreadMoments
from domain.symbols import Symbol
from domain.trade_book import EVERY_PAIR
from domain.trades import ZERO
from runner.config import ExecutionSettings, RiskSettings
from runner.exchange.port import Exchange, Rules
from runner.execution.context import Context
from runner.execution.entry.exposure import Exposure
from runner.execution.entry.gate import BalanceReading, EntryGate
from runner.execution.signal_port import QuoteOf

NEVER_QUOTED_MS = 10**9


@dataclass(frozen=True, slots=True)
class RestingLeg:
    """The leg of an approved entry that rests, and its order's price; None while it is to join the touch."""

    leg: LegName
    price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prospect:
    """The two orders as they would be sent now, and what speaks against them; without a size that is the objection."""

    sized: Sized | TooSmall | TooLarge
    edge: Edge | None
    notional_usd: Decimal
    filter_problem: tuple[Symbol, Reason] | None
    leverage_problem: Reason | None

    @classmethod
    def nothing(cls, why: TooSmall | TooLarge) -> "_Prospect":
        return cls(sized=why, edge=None, notional_usd=ZERO, filter_problem=None, leverage_problem=None)


class PreTradeCheck:
    """Turns a signal into a PreTradeSnapshot, and an approval into a plan with two order intents."""

    def __init__(
        self,
        context: Context,
        *,
        rules: Rules,
        exchange: Exchange,
        quote_of: QuoteOf,
        external_of: Callable[[Symbol], Decimal],
        gate: EntryGate,
        execution: ExecutionSettings,
        risk: RiskSettings,
        quote_age_ms_max: int,
        dry_run: bool,
    ) -> None:
        """`external_of`: what the account holds in a symbol that is not ours, signed."""
        self._book, self._clock = context.book, context.clock
        self._rules = rules
        self._exchange = exchange
        self._external_of = external_of
        self.exposure = Exposure(context, gate, quote_of)
        self._quote_of = quote_of
        self._gate = gate
        self._execution = execution
        self._risk = risk
        self._dry_run = dry_run
        self.limits = Limits(
            quote_age_ms_max=quote_age_ms_max,
            gross_notional_usd_max=risk.gross_notional_usd_max,
            daily_loss_usd_max=risk.daily_loss_usd_max,
            min_edge_ratio=risk.min_edge_ratio,
        )

    def quote_age_ms(self, symbol: Symbol) -> int:
        quote = self._quote_of(symbol)
        if quote is None:
            return NEVER_QUOTED_MS
        return max(0, self._clock.monotonic_ns() - quote.received_ns) // 1_000_000

    def snapshot(
        self,
        signal: TradingSignal,
        pair: PairConfig,
        *,
        journal_broken: bool,
        rests: RestingLeg | None = None,
    ) -> PreTradeSnapshot:
        """The world as it is now; `rests` for an entry that was approved already."""
        side = _side_of(signal)
        order = self._prospect(signal, pair, side, rests)
        gate, exposure, now_ms = self._gate, self.exposure, self._clock.now_ms()
        reading, reserved, lever = gate.reading, gate.capital.reserved_usd, Decimal(self._risk.leverage)
        unprepared = {symbol: gate.set_up_problem(symbol) for symbol in pair.symbols}
        return PreTradeSnapshot(
            signal=signal,
            side=side,
            entry_z=pair.entry_z,
            stop_z=pair.stop_z,
            paused_because=gate.paused_because,
            dry_run=self._dry_run,
            journal_broken=journal_broken,
            recovering=gate.recovering,
            user_stream_down=gate.user_stream_down,
            exchange_blocked_ms=self._exchange.orders_blocked_ms(Purpose.ENTRY),
            foreign_orders=gate.foreign_orders,
            pair_enabled=pair.enabled,
            entries_halted_ms=max(0, self._book.frozen_until_ms.get(EVERY_PAIR, 0) - now_ms),
            pair_frozen_ms=max(0, self._book.frozen_until_ms.get(pair.pair_id, 0) - now_ms),
            pair_has_trade=pair.pair_id in self._book.open_by_pair or gate.capital.is_reserved_for(pair.pair_id),
            symbols_not_trading=tuple(s for s in pair.symbols if not self._rules.instrument(s).may_enter),
            quote_age_ms=max(self.quote_age_ms(pair.leg_a), self.quote_age_ms(pair.leg_b)),
            sized=order.sized,
            filter_problem=order.filter_problem,
            leverage_problem=order.leverage_problem,
            edge=order.edge,
            order_notional_usd=order.notional_usd,
            gross_notional_usd=exposure.gross_notional_usd() + reserved,
            lost_today_usd=exposure.lost_today_usd(now_ms),
            margin_needed_usd=order.notional_usd / lever,
            margin_free_usd=ZERO if reading is None else self._margin_free_usd(reading),
            clock_problem=gate.clock_problem,
            rules_doubted=tuple(symbol for symbol in pair.symbols if gate.doubts_rules_of(symbol)),
            unprepared={symbol: reason for symbol, reason in unprepared.items() if reason is not None},
            balance_age_ms=None if reading is None else (self._clock.monotonic_ns() - reading.asked_ns) // 1_000_000,
        )

    def _margin_free_usd(self, reading: BalanceReading) -> Decimal:
        """What is available less what the balance cannot know of yet."""
        promised = self._gate.capital.reserved_usd + self.exposure.unseen_notional_usd(reading.asked_ms)
        return reading.balance.available_usd - promised / Decimal(self._risk.leverage)

    def _prospect(
        self, signal: TradingSignal, pair: PairConfig, side: PairSide, rests: RestingLeg | None
    ) -> "_Prospect":
        """What would be sent now."""
        quote_a, quote_b = self._quote_of(pair.leg_a), self._quote_of(pair.leg_b)
        if quote_a is None or quote_b is None:
            return _Prospect.nothing(TooSmall(why="no quotes yet", notional_usd_min=ZERO))
        sized = self._sized(pair, side, quote_a, quote_b)
        if not isinstance(sized, Sized):
            return _Prospect.nothing(sized)
        quotes = {LegName.A: quote_a, LegName.B: quote_b}
        edge = self._edge(signal, pair, sized, quotes, self._resting(pair, side, sized, quotes, rests))
        notional_a = sized.quantity_a * Decimal(str(quote_a.mid))
        notional_b = sized.quantity_b * Decimal(str(quote_b.mid))
        intents = self._intents(pair, side, sized, quotes, edge.resting_leg)
        return _Prospect(
            sized=sized,
            edge=edge,
            notional_usd=notional_a + notional_b,
            filter_problem=self._filter_problem(intents, {pair.leg_a: quote_a, pair.leg_b: quote_b}),
            leverage_problem=self._leverage_problem(pair.leg_a, notional_a)
            or self._leverage_problem(pair.leg_b, notional_b),
        )

    def _sized(self, pair: PairConfig, side: PairSide, quote_a: Quote, quote_b: Quote) -> Sized | TooSmall | TooLarge:
        return size_pair(
            notional_usd=self._risk.pair_notional_usd,
            hedge_ratio=Decimal(str(pair.hedge_ratio)),
            price_a=Decimal(str(quote_a.mid)),
            price_b=Decimal(str(quote_b.mid)),
            instrument_a=self._rules.instrument(pair.leg_a),
            instrument_b=self._rules.instrument(pair.leg_b),
            hedge_error_max=self._execution.hedge_error_max,
            exempt_a=self._close_is_exempt(pair.leg_a, side.side_of(LegName.A)),
            exempt_b=self._close_is_exempt(pair.leg_b, side.side_of(LegName.B)),
        )

    def _close_is_exempt(self, symbol: Symbol, side: Side) -> bool:
        """Nobody else holds the other way, so closing this leg, or any part of it, will be reduce-only."""
        return exempt_from_notional(self._book.positions().get(symbol, ZERO) + self._external_of(symbol), side)

    def _resting(
        self,
        pair: PairConfig,
        side: PairSide,
        sized: Sized,
        quotes: Mapping[LegName, Quote],
        rests: RestingLeg | None,
    ) -> Resting | None:
        """The leg that rests and what it pays: its order's price or the touch, whichever is worse for us."""
        if not self._execution.use_limit_orders or sized.whole_a or sized.whole_b:
            return None  # What rests fills in parts, and is hedged in parts.
        leg, price = (None, None) if rests is None else (rests.leg, rests.price)
        if leg is None:
            leg = less_liquid_leg(side, quotes, {LegName.A: sized.quantity_a, LegName.B: sized.quantity_b})
        symbol, order_side = pair.leg_a if leg is LegName.A else pair.leg_b, side.side_of(leg)
        touch = joined_price(quotes[leg], order_side, self._rules.instrument(symbol).tick)
        worse = max if order_side is Side.BUY else min
        return Resting(
            leg=leg,
            price=float(touch if price is None else worse(touch, price)),
            maker_fee_rate=self._rules.maker_fee_rate(symbol),
        )

    def _edge(
        self,
        signal: TradingSignal,
        pair: PairConfig,
        sized: Sized,
        quotes: Mapping[LegName, Quote],
        resting: Resting | None,
    ) -> Edge:
        half_life = pair.half_life_bars
        return edge_of(
            side=_side_of(signal),
            hedge_ratio=pair.hedge_ratio,
            statistics=SpreadMoments(signal.spread_mean, signal.spread_std),
            exit_z=pair.exit_z,
            quote_a=quotes[LegName.A],
            quote_b=quotes[LegName.B],
            quantity_a=sized.quantity_a,
            quantity_b=sized.quantity_b,
            taker_fee_rate=max(self._rules.taker_fee_rate(pair.leg_a), self._rules.taker_fee_rate(pair.leg_b)),
            funding_a=self._rules.funding(pair.leg_a),
            funding_b=self._rules.funding(pair.leg_b),
            half_life_hours=None if half_life is None else half_life * pair.half_life_bar_seconds / 3600,
            resting=resting,
        )

    def _filter_problem(
        self, intents: tuple[OrderIntent, OrderIntent], quotes: Mapping[Symbol, Quote]
    ) -> tuple[Symbol, Reason] | None:
        for intent in intents:
            mid = Decimal(str(quotes[intent.symbol].mid))
            problem = order_problem(intent, self._rules.instrument(intent.symbol), mid)
            if problem is not None:
                return intent.symbol, problem
        return None

    def _leverage_problem(self, symbol: Symbol, notional: Decimal) -> Reason | None:
        total = self.exposure.held_usd(symbol) + notional
        return leverage_problem(self._rules.instrument(symbol), total, self._risk.leverage)

    def _intents(
        self,
        pair: PairConfig,
        side: PairSide,
        sized: Sized,
        quotes: Mapping[LegName, Quote],
        resting_leg: LegName | None,
    ) -> tuple[OrderIntent, OrderIntent]:
        """Marketable limits that die at once: a bounded price, and nothing left resting; but a leg that shall rest joins the
        touch, post-only."""
        trade_id = trade_id_of(pair.pair_id, self._clock.now_ms())
        slippage = Decimal(str(self._execution.max_slippage_pct))

        def intent(leg: LegName, symbol: Symbol, quantity: Decimal, *, whole: bool) -> OrderIntent:
            order_side, quote = side.side_of(leg), quotes[leg]
            tick = self._rules.instrument(symbol).tick
            worst = Decimal(str(executable_price(quote, order_side))) * (1 + slippage * order_side.sign)
            rests = leg is resting_leg
            return OrderIntent(
                client_order_id=client_order_id_of(trade_id, leg, Purpose.ENTRY, 0),
                trade_id=trade_id,
                pair_id=pair.pair_id,
                leg=leg,
                purpose=Purpose.ENTRY,
                symbol=symbol,
                side=order_side,
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTX if rests else TimeInForce.FOK if whole else TimeInForce.IOC,
                quantity=quantity,
                limit_price=joined_price(quote, order_side, tick)
                if rests
                else round_price_within(worst, tick, order_side),
                reduce_only=False,
                attempt=0,
            )

        return (
            intent(LegName.A, pair.leg_a, sized.quantity_a, whole=sized.whole_a),
            intent(LegName.B, pair.leg_b, sized.quantity_b, whole=sized.whole_b),
        )

    def plan(self, approved: Approved, pair: PairConfig) -> tuple[TradeIntended, tuple[OrderIntent, OrderIntent]]:
        """The trade and its two entry orders. Call only right after `review`, before any await."""
        signal, sized, edge = approved.signal, approved.sized, approved.edge
        side = _side_of(signal)
        quote_a, quote_b = self._quote_of(pair.leg_a), self._quote_of(pair.leg_b)
        assert quote_a is not None and quote_b is not None  # noqa: PT018  (It was sized with them a moment ago.)
        intents = self._intents(pair, side, sized, {LegName.A: quote_a, LegName.B: quote_b}, edge.resting_leg)
        plan = TradeIntended(
            at_ms=self._clock.now_ms(),
            trade_id=intents[0].trade_id,
            pair_id=pair.pair_id,
            signal_id=signal.signal_id,
            side=side,
            symbol_a=pair.leg_a,
            symbol_b=pair.leg_b,
            hedge_ratio=pair.hedge_ratio,
            spread_mean=signal.spread_mean,
            spread_std=signal.spread_std,
            entry_z=signal.z_score,
            exit_threshold=pair.exit_z,
            stop_z=pair.stop_z,
            signal_ms=signal.at_ms,
            time_stop_ms=time_stop_at_ms(signal.at_ms, pair.half_life_bars, pair.half_life_bar_seconds),
            quantity_a=sized.quantity_a,
            quantity_b=sized.quantity_b,
            price_a=Decimal(str(executable_price(quote_a, intents[0].side))),
            price_b=Decimal(str(executable_price(quote_b, intents[1].side))),
            hedge_error=sized.hedge_error,
            expected_edge_usd=Decimal(f"{edge.net:.8f}"),
            costs=edge.as_facts(),
        )
        return plan, intents


def _side_of(signal: TradingSignal) -> PairSide:
    return PairSide.SELL if signal.signal_type is SignalType.SELL else PairSide.BUY


def closing_side(signed_held: Decimal) -> Side:
    """The order side that brings a signed holding to zero."""
    return Side.SELL if signed_held > 0 else Side.BUY
