"""The backtest as it would be written without caring for time: bar after bar, pair after pair, everything computed anew."""

import math
from collections import Counter, defaultdict

import numpy as np

from domain.decide import EntryRules, PairState, decide, rearmed
from domain.pairs import EXIT_REASON_OF, PairConfig, SignalType
from domain.spread import statistics_of
from flows.backtest.engine.account import Account
from flows.backtest.engine.market import Market
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.timeline import timeline_of_bars
from flows.backtest.engine.trades import BacktestTrade, Judgment, OpenTrade, fill_prices
from runner.signals.bars import CARRIED_BARS_MAX


class Reference:
    """One pair's window is a ring of closes, as live's; every usable bar is judged."""

    def __init__(self, market: Market, terms: Terms, pairs: list[PairConfig]) -> None:
        self.account = Account(market, terms)
        self.terms = terms
        self.pairs = pairs
        self.bars = market.bars
        self.timelines = {
            p.pair_id: timeline_of_bars(market.bars, *p.symbols, half_spread=terms.half_spread) for p in pairs
        }
        self.bars_of = {p.pair_id: (terms.bar_ms_of(p) or market.bars.step_ms) // market.bars.step_ms for p in pairs}
        self.standing = {p.pair_id: PairState() for p in pairs}
        self.trade: dict[str, OpenTrade] = {}
        self.due: dict[str, tuple[int, SignalType, float]] = {}
        self.denials: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.signals: list[tuple[str, str, int, float, str]] = []
        size = terms.lookback_bars
        self.rings = {(s, self.bars_of[p.pair_id]): np.full(size, math.nan) for p in pairs for s in p.symbols}
        self.seen: dict[
            tuple[str, int], tuple[int, float]
        ] = {}  # The window's bar in which a close was seen last, and it.

    @property
    def trades(self) -> list[BacktestTrade]:
        return self.account.trades

    def run(self) -> "Reference":
        """In every bar: fills at its open, then the judgments at its close, exits before entries; then the bar is remembered."""
        bars = self.bars
        place_of = {p.pair_id: {int(bar): i for i, bar in enumerate(self.timelines[p.pair_id].bar)} for p in self.pairs}
        for bar in range(bars.count):
            here = [(p, place_of[p.pair_id][bar]) for p in self.pairs if bar in place_of[p.pair_id]]
            for pair, place in here:
                self._fill(pair, place)
            for wants_exit in (True, False):
                for pair, place in here:
                    if (self.standing[pair.pair_id].held is not None) is wants_exit:
                        self._judge(pair, place)
            self._remember(bar)
        return self

    def _remember(self, bar: int) -> None:
        """A window's bar closes with the last of the market's bars in it; a close stands for a few bars without one."""
        number = self.bars.first_bar + bar
        for (symbol, per_bar), ring in self.rings.items():
            close, now = float(self.bars.closes[bar, self.bars.symbols.index(symbol)]), number // per_bar
            if math.isfinite(close):
                self.seen[symbol, per_bar] = now, close
            if (number + 1) % per_bar == 0:
                last, price = self.seen.get((symbol, per_bar), (-99, math.nan))
                ring[now % ring.size] = price if now - last <= CARRIED_BARS_MAX else math.nan

    def _fill(self, pair: PairConfig, place: int) -> None:
        due = self.due.get(pair.pair_id)
        if due is None or place < due[0]:
            return
        _, signal, z_score = self.due.pop(pair.pair_id)
        timeline, trade, before = self.timelines[pair.pair_id], self.trade[pair.pair_id], self.standing[pair.pair_id]
        self.account.arrived(pair)
        last = {"last_signal": before.last_signal, "last_signal_ms": before.last_signal_ms}
        at_ms = int(timeline.fill_ms[place])
        if signal.is_entry:
            trade = self.trade[pair.pair_id] = trade.filled(
                at_ms, *fill_prices(timeline, place, trade.signs, self.terms.slippage)
            )
            self.account.opened(trade, timeline)
            self.standing[pair.pair_id] = PairState(held=trade.held, **last)  # type: ignore[arg-type]
            return
        price_a, price_b = fill_prices(timeline, place, (-trade.signs[0], -trade.signs[1]), self.terms.slippage)
        result = trade.closed(
            self.account.market, fee_rate=self.terms.taker_fee_rate, closed_ms=at_ms, price_a=price_a, price_b=price_b,
            reason=EXIT_REASON_OF[signal].value, exit_z=z_score,
        )  # fmt: skip
        self.account.closed(trade, result)
        del self.trade[pair.pair_id]
        sign = (-1 if z_score < 0 else 1) if signal is SignalType.STOP else 0
        self.standing[pair.pair_id] = PairState(stopped_at_sign=sign, **last)  # type: ignore[arg-type]

    def _judge(self, pair: PairConfig, place: int) -> None:
        timeline, standing = self.timelines[pair.pair_id], self.standing[pair.pair_id]
        held = standing.held
        hedge_ratio = pair.hedge_ratio if held is None else held.hedge_ratio
        spread = float(timeline.price_b[place]) - hedge_ratio * float(timeline.price_a[place])
        a, b = (self.rings[leg, self.bars_of[pair.pair_id]] for leg in pair.symbols)
        current = statistics_of(b - pair.hedge_ratio * a)
        if held is None and rearmed(standing, spread, current):
            standing = PairState(last_signal=standing.last_signal, last_signal_ms=standing.last_signal_ms)
            self.standing[pair.pair_id] = standing
        now_ms = int(timeline.at_ms[place])
        rules = EntryRules(pair.entry_z, pair.stop_z)
        signal = decide(spread, standing, rules, current, now_ms)
        if signal is None or (signal.is_entry and not pair.enabled):
            return
        bar_ms = self.bars_of[pair.pair_id] * self.bars.step_ms
        if signal is SignalType.TIME_STOP and held and now_ms // bar_ms * bar_ms < (held.time_stop_ms or 0):
            return  # It is noticed when a bar of the pair's window closes.
        by = current if held is None else held.statistics
        assert by is not None
        found = Judgment(place, now_ms, signal, spread, by)
        denial, busy = "", True
        if signal.is_entry:
            verdict = self.account.review(pair, timeline, found)
            if isinstance(verdict, str):
                denial, busy = verdict, False
                self.denials[pair.pair_id][denial] += 1
            else:
                self.trade[pair.pair_id] = verdict
        self.signals.append((pair.pair_id, str(signal), now_ms, found.z_score, denial))
        self.standing[pair.pair_id] = PairState(held=held, busy=busy, last_signal=signal, last_signal_ms=now_ms)
        if not denial:
            self.account.send(pair)
            self.due[pair.pair_id] = (place + self.terms.latency_bars, signal, found.z_score)
