"""The account of a backtest: what is held and under way across pairs, and the review of an entry by live's own guards."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from domain.completion import exempt_from_notional
from domain.decide import HeldTrade, confidence_of, time_stop_at_ms
from domain.edge import Edge, edge_of
from domain.guards import DenialCode, Denied, PreTradeSnapshot, review
from domain.instruments import leverage_problem
from domain.orders import LegName, Side
from domain.pairs import PairConfig, PairSide, TradingSignal
from domain.quotes import Quote
from domain.reasons import Reason
from domain.sizing import Sized, TooLarge, TooSmall, size_pair
from domain.symbols import PairId, Symbol
from domain.units import DAY_MS
from flows.backtest.engine.market import Market
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.timeline import Timeline
from flows.backtest.engine.trades import BacktestTrade, Judgment, OpenTrade

ZERO = Decimal(0)


@dataclass(slots=True)
class Account:
    """Open trades with their timelines, orders under way, and what was realised day by day (UTC)."""

    market: Market
    terms: Terms
    open: dict[PairId, tuple[OpenTrade, Timeline]] = field(default_factory=dict)
    reserved_usd: dict[PairId, Decimal] = field(default_factory=dict)
    busy: Counter[Symbol] = field(default_factory=Counter)
    positions: defaultdict[Symbol, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    trades: list[BacktestTrade] = field(default_factory=list)
    realized_usd: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    # Orders under way.

    def send(self, pair: PairConfig) -> None:
        """Both symbols are locked until the fill: entries of other pairs are denied meanwhile, exits are not."""
        self.busy[pair.leg_a] += 1
        self.busy[pair.leg_b] += 1

    def arrived(self, pair: PairConfig) -> None:
        self.busy[pair.leg_a] -= 1
        self.busy[pair.leg_b] -= 1
        self.reserved_usd.pop(pair.pair_id, None)

    def opened(self, trade: OpenTrade, timeline: Timeline) -> None:
        self.open[trade.pair.pair_id] = (trade, timeline)
        self._hold(trade, 1)

    def closed(self, trade: OpenTrade, result: BacktestTrade) -> None:
        del self.open[trade.pair.pair_id]
        self._hold(trade, -1)
        self.trades.append(result)
        self.realized_usd[result.closed_ms // DAY_MS] += result.net_usd

    def _hold(self, trade: OpenTrade, way: int) -> None:
        sign_a, sign_b = trade.signs
        self.positions[trade.pair.leg_a] += way * sign_a * trade.quantities[0]
        self.positions[trade.pair.leg_b] += way * sign_b * trade.quantities[1]

    # The review.

    def review(self, pair: PairConfig, timeline: Timeline, found: Judgment) -> OpenTrade | str:
        """The entry as live's guards weigh it, its notional reserved; or the code of the first that objects."""
        if self.busy[pair.leg_a] or self.busy[pair.leg_b]:
            return DenialCode.SYMBOL_BUSY.value
        side = PairSide(found.signal_type.value)
        quotes = quotes_at(timeline, found.place)
        mids = Decimal(str(quotes[0].mid)), Decimal(str(quotes[1].mid))
        sized = self._sized(pair, side, mids)
        edge, notionals = None, (ZERO, ZERO)
        if isinstance(sized, Sized):
            notionals = sized.quantity_a * mids[0], sized.quantity_b * mids[1]
            edge = self._edge(pair, side, found, sized, quotes)
        gross_usd, lost_usd = self._standing(found.at_ms)
        snapshot = _healthy_world(
            signal=self._signal(pair, found, quotes),
            pair=pair,
            side=side,
            has_trade=pair.pair_id in self.open or pair.pair_id in self.reserved_usd,
            sized=sized,
            edge=edge,
            leverage_problem=self._leverage_problem(pair, notionals, mids),
            notional_usd=notionals[0] + notionals[1],
            gross_usd=gross_usd,
            lost_usd=lost_usd,
        )
        verdict = review(snapshot, self.terms.limits)
        if isinstance(verdict, Denied):
            return verdict.code.value
        self.reserved_usd[pair.pair_id] = notionals[0] + notionals[1]
        held = HeldTrade(
            side=side,
            statistics=found.statistics,
            hedge_ratio=pair.hedge_ratio,
            exit_z=pair.exit_z,
            stop_z=pair.stop_z,
            time_stop_ms=time_stop_at_ms(found.at_ms, pair.half_life_bars, pair.half_life_bar_seconds),
        )
        return OpenTrade.of(
            pair=pair,
            held=held,
            sized=verdict.sized,
            edge=verdict.edge,
            entry_z=found.z_score,
            decided_ms=found.at_ms,
        )

    def _signal(self, pair: PairConfig, found: Judgment, quotes: tuple[Quote, Quote]) -> TradingSignal:
        z_score = found.z_score
        return TradingSignal(
            signal_id=f"{pair.pair_id}:{found.at_ms}:{found.signal_type}",
            pair_id=pair.pair_id,
            signal_type=found.signal_type,
            z_score=z_score,
            spread=found.spread,
            spread_mean=found.statistics.mean,
            spread_std=found.statistics.std,
            price_a=quotes[0].mid,
            price_b=quotes[1].mid,
            confidence=confidence_of(z_score, pair.entry_z, pair.stop_z),
            suggested_position_size=float(self.terms.notional_usd),
            at_ms=found.at_ms,
        )

    def _sized(self, pair: PairConfig, side: PairSide, mids: tuple[Decimal, Decimal]) -> Sized | TooSmall | TooLarge:
        terms = self.terms
        return size_pair(
            notional_usd=terms.notional_usd,
            hedge_ratio=Decimal(str(pair.hedge_ratio)),
            price_a=mids[0],
            price_b=mids[1],
            instrument_a=terms.instrument(pair.leg_a),
            instrument_b=terms.instrument(pair.leg_b),
            hedge_error_max=terms.hedge_error_max,
            exempt_a=self._close_is_exempt(pair.leg_a, side.side_of(LegName.A)),
            exempt_b=self._close_is_exempt(pair.leg_b, side.side_of(LegName.B)),
        )

    def _close_is_exempt(self, symbol: Symbol, side: Side) -> bool:
        return exempt_from_notional(self.positions[symbol], side)

    def _edge(
        self, pair: PairConfig, side: PairSide, found: Judgment, sized: Sized, quotes: tuple[Quote, Quote]
    ) -> Edge:
        return edge_of(
            side=side,
            hedge_ratio=pair.hedge_ratio,
            statistics=found.statistics,
            exit_z=pair.exit_z,
            quote_a=quotes[0],
            quote_b=quotes[1],
            quantity_a=sized.quantity_a,
            quantity_b=sized.quantity_b,
            taker_fee_rate=self.terms.taker_fee_rate,
            funding_a=self.market.funding_of(pair.leg_a).terms_at(found.at_ms),
            funding_b=self.market.funding_of(pair.leg_b).terms_at(found.at_ms),
            half_life_hours=half_life_hours(pair),
        )

    def _leverage_problem(
        self, pair: PairConfig, notionals: tuple[Decimal, Decimal], mids: tuple[Decimal, Decimal]
    ) -> Reason | None:
        for symbol, notional, mid in zip(pair.symbols, notionals, mids, strict=True):
            instrument = self.terms.instrument(symbol)
            if instrument.leverage_steps:
                held = abs(self.positions[symbol]) * mid
                problem = leverage_problem(instrument, held + notional, self.terms.leverage)
                if problem is not None:
                    return problem
        return None

    def _standing(self, now_ms: int) -> tuple[Decimal, Decimal]:
        """Both legs of every open trade at mid with what is reserved; and today's loss, positive: realised since midnight UTC plus
        what open trades are under water."""
        gross, result = 0.0, self.realized_usd[now_ms // DAY_MS]
        fee_rate = self.terms.taker_fee_rate
        for trade, timeline in self.open.values():
            price_a, price_b = mids_at(timeline, now_ms)
            gross += trade.notional_at(price_a, price_b)
            result += (
                trade.gross_at(price_a, price_b) - fee_rate * trade.entry_usd + trade.funding_until(self.market, now_ms)
            )
        reserved = sum(self.reserved_usd.values(), ZERO)
        return reserved + Decimal(str(gross)), max(ZERO, -Decimal(str(result)))


def quotes_at(timeline: Timeline, place: int) -> tuple[Quote, Quote]:
    """Best bid and ask of both legs at a moment of judgment."""
    at_ms = int(timeline.at_ms[place])
    price_a, half_a = float(timeline.price_a[place]), float(timeline.half_a[place])
    price_b, half_b = float(timeline.price_b[place]), float(timeline.half_b[place])
    return (
        Quote(price_a - half_a, price_a + half_a, 0.0, 0.0, at_ms, 0),
        Quote(price_b - half_b, price_b + half_b, 0.0, 0.0, at_ms, 0),
    )


def mids_at(timeline: Timeline, now_ms: int) -> tuple[float, float]:
    """The newest mids of both legs."""
    place = max(timeline.first_after(now_ms) - 1, 0)
    return float(timeline.price_a[place]), float(timeline.price_b[place])


def half_life_hours(pair: PairConfig) -> float | None:
    return None if pair.half_life_bars is None else pair.half_life_bars * pair.half_life_bar_seconds / 3600


def _healthy_world(
    *,
    signal: TradingSignal,
    pair: PairConfig,
    side: PairSide,
    has_trade: bool,
    sized: Sized | TooSmall | TooLarge,
    edge: Edge | None,
    leverage_problem: Reason | None,
    notional_usd: Decimal,
    gross_usd: Decimal,
    lost_usd: Decimal,
) -> PreTradeSnapshot:
    """A backtest's world: what is traded is judged; the exchange is healthy, quotes are fresh, margin is enough.

    Every field is stated here, the healthy ones too: a new guard must be thought of for the past as well.
    """
    return PreTradeSnapshot(
        signal=signal,
        side=side,
        entry_z=pair.entry_z,
        stop_z=pair.stop_z,
        paused_because=None,
        dry_run=False,
        journal_broken=False,
        recovering=False,
        user_stream_down=False,
        exchange_blocked_ms=0,
        foreign_orders=0,
        pair_enabled=pair.enabled,
        pair_frozen_ms=0,
        entries_halted_ms=0,
        pair_has_trade=has_trade,
        symbols_not_trading=(),  # What is halted today says nothing of the past.
        quote_age_ms=0,
        sized=sized,
        filter_problem=None,
        leverage_problem=leverage_problem,
        edge=edge,
        order_notional_usd=notional_usd,
        gross_notional_usd=gross_usd,
        lost_today_usd=lost_usd,
        margin_needed_usd=ZERO,
        margin_free_usd=ZERO,
        clock_problem=None,
        rules_doubted=(),
        unprepared={},
        balance_age_ms=0,
    )
