"""The account of a backtest: what is held and under way across pairs, and the review of an entry by live's own guards."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from decimal import Decimal

from domain.completion import exempt_from_notional
from domain.decide import HeldTrade, confidence_of, time_stop_at_ms
from domain.edge import Edge, edge_of
from domain.guards import DenialCode, Denied, Situation, review
from domain.instruments import leverage_problem
from domain.orders import LegName, Side
from domain.pairs import PairConfig, PairSide, SignalType, TradingSignal
from domain.quotes import Quote
from domain.sizing import Sized, TooLarge, TooSmall, size_pair
from domain.symbols import PairId, Symbol
from flows.backtesting.market import Market
from flows.backtesting.tape import Tape
from flows.backtesting.terms import Terms
from flows.backtesting.trades import BacktestTrade, Judgment, OpenTrade

DAY_MS = 86_400_000
ZERO = Decimal(0)


@dataclass(slots=True)
class Account:
    """Open trades with their tapes, orders under way, and what was realised day by day (UTC)."""

    market: Market
    terms: Terms
    open: dict[PairId, tuple[OpenTrade, Tape]] = field(default_factory=dict)
    reserved_usd: dict[PairId, Decimal] = field(default_factory=dict)
    busy: Counter[Symbol] = field(default_factory=Counter)
    positions: defaultdict[Symbol, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    trades: list[BacktestTrade] = field(default_factory=list)
    realized_usd: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    # Orders under way.

    def send(self, pair: PairConfig) -> None:
        """Both symbols are locked until the fill: entries of other pairs are denied meanwhile, exits are not."""
        self.busy.update(pair.symbols)

    def arrived(self, pair: PairConfig) -> None:
        self.busy.subtract(pair.symbols)
        self.reserved_usd.pop(pair.pair_id, None)

    def opened(self, trade: OpenTrade, tape: Tape) -> None:
        self.open[trade.pair.pair_id] = (trade, tape)
        self._hold(trade, 1)

    def closed(self, trade: OpenTrade, result: BacktestTrade) -> None:
        del self.open[trade.pair.pair_id]
        self._hold(trade, -1)
        self.trades.append(result)
        self.realized_usd[result.closed_ms // DAY_MS] += result.net_usd

    def _hold(self, trade: OpenTrade, way: int) -> None:
        sign_a, sign_b = trade.signs
        self.positions[trade.pair.leg_a] += way * sign_a * trade.sized.quantity_a
        self.positions[trade.pair.leg_b] += way * sign_b * trade.sized.quantity_b

    # The review.

    def review(self, pair: PairConfig, tape: Tape, found: Judgment) -> OpenTrade | str:
        """The entry as live's guards weigh it, its notional reserved; or the code of the first that objects."""
        if any(self.busy[symbol] for symbol in pair.symbols):
            return DenialCode.SYMBOL_BUSY.value
        side = PairSide(found.signal_type.value)
        quotes = quotes_at(tape, found.place)
        sized = self._sized(pair, side, quotes)
        edge, notionals = None, (ZERO, ZERO)
        if isinstance(sized, Sized):
            notionals = (
                sized.quantity_a * Decimal(str(quotes[0].mid)),
                sized.quantity_b * Decimal(str(quotes[1].mid)),
            )
            edge = self._edge(pair, found, sized, quotes)
        situation = replace(
            _HEALTHY,
            signal=self._signal(pair, found, quotes),
            side=side,
            entry_z=pair.entry_z,
            stop_z=pair.stop_z,
            pair_enabled=pair.enabled,
            pair_has_trade=pair.pair_id in self.open or pair.pair_id in self.reserved_usd,
            sized=sized,
            edge=edge,
            leverage_problem=self._leverage_problem(pair, notionals, quotes),
            order_notional_usd=notionals[0] + notionals[1],
            gross_notional_usd=self._gross_usd(found.at_ms),
            lost_today_usd=self._lost_today_usd(found.at_ms),
        )
        verdict = review(situation, self.terms.limits)
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
        return OpenTrade(
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

    def _sized(self, pair: PairConfig, side: PairSide, quotes: tuple[Quote, Quote]) -> Sized | TooSmall | TooLarge:
        terms = self.terms
        return size_pair(
            notional_usd=terms.notional_usd,
            hedge_ratio=Decimal(str(pair.hedge_ratio)),
            price_a=Decimal(str(quotes[0].mid)),
            price_b=Decimal(str(quotes[1].mid)),
            instrument_a=terms.instrument(pair.leg_a),
            instrument_b=terms.instrument(pair.leg_b),
            hedge_error_max=terms.hedge_error_max,
            exempt_a=self._close_is_exempt(pair.leg_a, side.side_of(LegName.A)),
            exempt_b=self._close_is_exempt(pair.leg_b, side.side_of(LegName.B)),
        )

    def _close_is_exempt(self, symbol: Symbol, side: Side) -> bool:
        return exempt_from_notional(self.positions[symbol], side)

    def _edge(self, pair: PairConfig, found: Judgment, sized: Sized, quotes: tuple[Quote, Quote]) -> Edge:
        return edge_of(
            side=PairSide(found.signal_type.value),
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
        self, pair: PairConfig, notionals: tuple[Decimal, Decimal], quotes: tuple[Quote, Quote]
    ) -> str | None:
        for symbol, notional, quote in zip(pair.symbols, notionals, quotes, strict=True):
            instrument = self.terms.instrument(symbol)
            if instrument.leverage_steps:
                held = abs(self.positions[symbol]) * Decimal(str(quote.mid))
                problem = leverage_problem(instrument, held + notional, self.terms.leverage)
                if problem is not None:
                    return problem
        return None

    def _gross_usd(self, now_ms: int) -> Decimal:
        """Both legs of every open trade at mid, and what is reserved."""
        gross = sum(self.reserved_usd.values(), ZERO)
        for trade, tape in self.open.values():
            gross += Decimal(str(trade.notional_at(*mids_at(tape, now_ms))))
        return gross

    def _lost_today_usd(self, now_ms: int) -> Decimal:
        """Realised since midnight UTC plus what open trades are under water, as a positive number."""
        result = self.realized_usd[now_ms // DAY_MS]
        for trade, tape in self.open.values():
            result += trade.gross_at(*mids_at(tape, now_ms))
            result -= self.terms.taker_fee_rate * trade.notional_at(trade.price_a, trade.price_b)
            result += trade.funding_until(self.market, now_ms)
        return max(ZERO, -Decimal(str(result)))


def quotes_at(tape: Tape, place: int) -> tuple[Quote, Quote]:
    """Best bid and ask of both legs at a moment of judgment."""
    at_ms = int(tape.at_ms[place])
    price_a, half_a = float(tape.price_a[place]), float(tape.half_a[place])
    price_b, half_b = float(tape.price_b[place]), float(tape.half_b[place])
    return (
        Quote(price_a - half_a, price_a + half_a, 0.0, 0.0, at_ms, 0),
        Quote(price_b - half_b, price_b + half_b, 0.0, 0.0, at_ms, 0),
    )


def mids_at(tape: Tape, now_ms: int) -> tuple[float, float]:
    """The newest mids of both legs."""
    place = max(tape.first_after(now_ms) - 1, 0)
    return float(tape.price_a[place]), float(tape.price_b[place])


def half_life_hours(pair: PairConfig) -> float | None:
    return None if pair.half_life_bars is None else pair.half_life_bars * pair.half_life_bar_seconds / 3600


_NOTHING = TradingSignal(
    signal_id="",
    pair_id=PairId(""),
    signal_type=SignalType.SELL,
    z_score=0.0,
    spread=0.0,
    spread_mean=0.0,
    spread_std=1.0,
    price_a=0.0,
    price_b=0.0,
    confidence=0.0,
    suggested_position_size=0.0,
    at_ms=0,
)
_HEALTHY = Situation(
    signal=_NOTHING,
    side=PairSide.SELL,
    entry_z=0.0,
    stop_z=0.0,
    paused_because=None,
    dry_run=False,
    journal_broken=False,
    recovering=False,
    user_stream_down=False,
    exchange_blocked_ms=0,
    foreign_orders=0,
    pair_enabled=True,
    pair_frozen_ms=0,
    pair_has_trade=False,
    symbols_not_trading=(),  # What is halted today says nothing of the past.
    quote_age_ms=0,
    sized=TooSmall(why="", notional_usd_min=ZERO),
    filter_problem=None,
    leverage_problem=None,
    edge=None,
    order_notional_usd=ZERO,
    gross_notional_usd=ZERO,
    lost_today_usd=ZERO,
    margin_needed_usd=ZERO,
    margin_free_usd=ZERO,
)
"""A backtest's world but for what is traded: a healthy exchange, fresh quotes, margin enough."""
