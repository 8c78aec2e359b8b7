"""One pair through stored bars, by the very functions that decide live: decide, size, edge. No look-ahead.

A bar's close is judged by the statistics of the `lookback_bars` closed bars before it; what it decides is filled at the next
bar's open, for a taker fee and half a spread on each leg. Funding is charged at every settlement between entry and exit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from domain.decide import EntryRules, HeldTrade, Standing, decide, rearmed, time_stop_at_ms
from domain.edge import Edge, FundingTerms, edge_of
from domain.instruments import Instrument
from domain.orders import LegName
from domain.pairs import EXIT_REASON_OF, PairConfig, PairSide, SignalType
from domain.quotes import Quote
from domain.sizing import Sized, size_pair
from domain.spread import SpreadStatistics, SpreadWindow
from storage.market import FundingRate

END_OF_DATA = "end_of_data"

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBars:
    """Aligned bars of both legs; NaN where a leg has none. Times are openings, Unix milliseconds."""

    times: NDArray[np.int64]
    step_ms: int
    open_a: Series
    close_a: Series
    open_b: Series
    close_b: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a trade pays."""

    taker_fee_rate: float
    half_spread: float  # As a fraction of the price.


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the pair is traded."""

    pair: PairConfig
    lookback_bars: int
    notional_usd: Decimal
    min_edge_ratio: float
    hedge_error_max: float
    costs: Costs
    instrument_a: Instrument
    instrument_b: Instrument
    funding_a: Sequence[FundingRate] = ()
    funding_b: Sequence[FundingRate] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestTrade:
    """One round trip. USD throughout; net = gross − fees + funding. Prices are fills, half a spread included."""

    pair_id: str
    side: PairSide
    opened_ms: int
    closed_ms: int
    entry_z: float
    exit_z: float
    exit_reason: str
    quantity_a: float
    quantity_b: float
    entry_price_a: float
    entry_price_b: float
    exit_price_a: float
    exit_price_b: float
    gross_usd: float
    fees_usd: float
    funding_usd: float
    expected_edge_usd: float

    @property
    def net_usd(self) -> float:
        return self.gross_usd - self.fees_usd + self.funding_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRun:
    """What one pair did, and the entries it passed over, by reason."""

    trades: tuple[BacktestTrade, ...]
    denials: dict[str, int]
    bars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """An entry that was decided and waits for the next bar's open, then the trade it became."""

    side: PairSide
    sized: Sized
    edge: Edge
    statistics: SpreadStatistics
    z: float
    opened_ms: int = 0
    price_a: float = math.nan
    price_b: float = math.nan


def run_pair(bars: PairBars, plan: Plan) -> PairRun:
    """Walk the bars once, oldest first."""
    return _Walk(bars, plan).run()


class _Walk:
    """The state between two bars. Each bar: fill what the last close decided, then judge this close, then remember it."""

    def __init__(self, bars: PairBars, plan: Plan) -> None:
        self._bars = bars
        self._plan = plan
        self._window = SpreadWindow(plan.lookback_bars)
        self._standing = Standing()
        self._rules = EntryRules(plan.pair.entry_z, plan.pair.stop_z)
        self._held: _Entry | None = None
        self._wants_in: _Entry | None = None
        self._wants_out: tuple[SignalType, float] | None = None
        self._trades: list[BacktestTrade] = []
        self._denials: dict[str, int] = {}

    def run(self) -> PairRun:
        bars = self._bars
        usable = np.isfinite(bars.open_a) & np.isfinite(bars.open_b)
        usable &= np.isfinite(bars.close_a) & np.isfinite(bars.close_b)
        indices = np.flatnonzero(usable).tolist()
        for index in indices:
            self._fill(index)
            self._judge(index)
        if self._held is not None and indices:
            last = indices[-1]
            z = self._held.statistics.z_score(self._spread(last))
            closed_ms = int(bars.times[last]) + bars.step_ms
            self._close(closed_ms, float(bars.close_a[last]), float(bars.close_b[last]), END_OF_DATA, z)
        return PairRun(trades=tuple(self._trades), denials=self._denials, bars=len(indices))

    def _spread(self, index: int) -> float:
        return float(self._bars.close_b[index]) - self._plan.pair.hedge_ratio * float(self._bars.close_a[index])

    def _fill(self, index: int) -> None:
        at_ms = int(self._bars.times[index])
        price_a, price_b = float(self._bars.open_a[index]), float(self._bars.open_b[index])
        if self._wants_out is not None:
            signal, z = self._wants_out
            self._close(at_ms, price_a, price_b, EXIT_REASON_OF[signal].value, z)
            self._wants_out = None
        elif self._wants_in is not None:
            self._open(self._wants_in, at_ms, price_a, price_b)
            self._wants_in = None

    def _judge(self, index: int) -> None:
        now_ms = int(self._bars.times[index]) + self._bars.step_ms
        spread = self._spread(index)
        current = self._window.statistics()
        if rearmed(self._standing, spread, current):
            self._standing = _without_stop(self._standing)
        signal = decide(spread, self._standing, self._rules, current, now_ms)
        if signal is not None:
            self._act(signal, index, spread, current, now_ms)
        self._window.append(spread)

    def _act(
        self, signal: SignalType, index: int, spread: float, current: SpreadStatistics | None, now_ms: int
    ) -> None:
        if not signal.is_entry:
            assert self._held is not None
            z = self._held.statistics.z_score(spread)
            self._wants_out = (signal, z)
            sign = (-1 if z < 0 else 1) if signal is SignalType.STOP else 0
            self._standing = Standing(stopped_at_sign=sign, last_signal=signal, last_signal_ms=now_ms)
            return
        assert current is not None
        self._standing = Standing(last_signal=signal, last_signal_ms=now_ms)
        entry = self._weigh(PairSide(signal.value), index, spread, current)
        if isinstance(entry, str):
            self._denials[entry] = self._denials.get(entry, 0) + 1
            return
        self._wants_in = entry

    def _weigh(self, side: PairSide, index: int, spread: float, current: SpreadStatistics) -> "_Entry | str":
        """The entry as the live guards would weigh it at this close, or why not."""
        plan, pair = self._plan, self._plan.pair
        price_a, price_b = float(self._bars.close_a[index]), float(self._bars.close_b[index])
        sized = size_pair(
            notional_usd=plan.notional_usd,
            hedge_ratio=Decimal(str(pair.hedge_ratio)),
            price_a=Decimal(str(price_a)),
            price_b=Decimal(str(price_b)),
            instrument_a=plan.instrument_a,
            instrument_b=plan.instrument_b,
            hedge_error_max=plan.hedge_error_max,
        )
        if not isinstance(sized, Sized):
            return "too_small"
        edge = edge_of(
            side=side,
            hedge_ratio=pair.hedge_ratio,
            statistics=current,
            exit_z=pair.exit_z,
            quote_a=self._quote(price_a),
            quote_b=self._quote(price_b),
            quantity_a=sized.quantity_a,
            quantity_b=sized.quantity_b,
            taker_fee_rate=plan.costs.taker_fee_rate,
            funding_a=_last_known(plan.funding_a, int(self._bars.times[index]) + self._bars.step_ms),
            funding_b=_last_known(plan.funding_b, int(self._bars.times[index]) + self._bars.step_ms),
            half_life_hours=_half_life_hours(pair),
        )
        away = -edge.executable_z if side is PairSide.SELL else edge.executable_z
        if away < pair.entry_z:
            return "z_not_executable"
        if away >= pair.stop_z:
            return "beyond_the_stop"
        if edge.reversion < plan.min_edge_ratio * edge.costs:
            return "edge_too_small"
        return _Entry(side=side, sized=sized, edge=edge, statistics=current, z=current.z_score(spread))

    def _quote(self, price: float) -> Quote:
        half = price * self._plan.costs.half_spread
        return Quote(price - half, price + half, 0.0, 0.0, 0, 0)

    def _fill_price(self, price: float, sign: int) -> float:
        return price * (1 + sign * self._plan.costs.half_spread)

    def _open(self, entry: _Entry, at_ms: int, price_a: float, price_b: float) -> None:
        pair, side = self._plan.pair, entry.side
        self._held = _Entry(
            side=side,
            sized=entry.sized,
            edge=entry.edge,
            statistics=entry.statistics,
            z=entry.z,
            opened_ms=at_ms,
            price_a=self._fill_price(price_a, side.side_of(LegName.A).sign),
            price_b=self._fill_price(price_b, side.side_of(LegName.B).sign),
        )
        held = HeldTrade(
            side=side,
            statistics=entry.statistics,
            hedge_ratio=pair.hedge_ratio,
            exit_z=pair.exit_z,
            stop_z=pair.stop_z,
            time_stop_ms=time_stop_at_ms(at_ms, pair.half_life_bars, pair.half_life_bar_seconds),
        )
        before = self._standing
        self._standing = Standing(held=held, last_signal=before.last_signal, last_signal_ms=before.last_signal_ms)

    def _close(self, at_ms: int, price_a: float, price_b: float, reason: str, z: float) -> None:
        held = self._held
        assert held is not None
        self._held = None
        sign_a, sign_b = held.side.side_of(LegName.A).sign, held.side.side_of(LegName.B).sign
        out_a, out_b = self._fill_price(price_a, -sign_a), self._fill_price(price_b, -sign_b)
        units_a, units_b = float(held.sized.quantity_a), float(held.sized.quantity_b)
        gross = sign_a * units_a * (out_a - held.price_a) + sign_b * units_b * (out_b - held.price_b)
        traded = units_a * (held.price_a + out_a) + units_b * (held.price_b + out_b)
        funding = self._funding(self._plan.funding_a, sign_a * units_a, self._bars.close_a, held.opened_ms, at_ms)
        funding += self._funding(self._plan.funding_b, sign_b * units_b, self._bars.close_b, held.opened_ms, at_ms)
        self._trades.append(
            BacktestTrade(
                pair_id=self._plan.pair.pair_id,
                side=held.side,
                opened_ms=held.opened_ms,
                closed_ms=at_ms,
                entry_z=held.z,
                exit_z=z,
                exit_reason=reason,
                quantity_a=units_a,
                quantity_b=units_b,
                entry_price_a=held.price_a,
                entry_price_b=held.price_b,
                exit_price_a=out_a,
                exit_price_b=out_b,
                gross_usd=gross,
                fees_usd=self._plan.costs.taker_fee_rate * traded,
                funding_usd=funding,
                expected_edge_usd=held.edge.net,
            )
        )

    def _funding(
        self, rates: Sequence[FundingRate], units: float, closes: Series, opened_ms: int, closed_ms: int
    ) -> float:
        """What the settlements in (opened, closed] paid: longs pay a positive rate, at the last close before it."""
        total = 0.0
        for rate in rates:
            if opened_ms < rate.at_ms <= closed_ms:
                index = int(np.searchsorted(self._bars.times, rate.at_ms - self._bars.step_ms, side="right")) - 1
                price = float(closes[max(index, 0)])
                total -= units * price * rate.rate if math.isfinite(price) else 0.0
        return total


def _without_stop(standing: Standing) -> Standing:
    return Standing(held=standing.held, last_signal=standing.last_signal, last_signal_ms=standing.last_signal_ms)


def _half_life_hours(pair: PairConfig) -> float | None:
    return None if pair.half_life_bars is None else pair.half_life_bars * pair.half_life_bar_seconds / 3600


def _last_known(rates: Sequence[FundingRate], now_ms: int) -> FundingTerms:
    """The last settled rate stands for the predicted one, which no archive keeps."""
    past = [rate for rate in rates if rate.at_ms <= now_ms]
    if not past:
        return FundingTerms(0.0)
    hours = (past[-1].at_ms - past[-2].at_ms) / 3_600_000 if len(past) > 1 else 8.0
    return FundingTerms(past[-1].rate, max(1.0, round(hours)))
