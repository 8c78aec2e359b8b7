"""The walk: every pair judged and filled in order of time, on one account. What is decided at a moment knows nothing later.

walk = Walk(market, terms)
walk.configure(pairs, at_ms=start)     # in force for moments after it; open trades keep the numbers they began with
walk.run(until_ms)                     # again and again, with new pairs between
walk.finish()
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum

from domain.pairs import EXIT_REASON_OF, PairConfig, SignalType
from domain.symbols import PairId, Symbol
from flows.backtest.engine.account import Account
from flows.backtest.engine.market import Bars, Market
from flows.backtest.engine.pair_walk import PairWalk
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.timeline import Timeline, timeline_of_bars, timeline_of_quotes
from flows.backtest.engine.trades import END_OF_DATA, BacktestTrade, OpenTrade, Signal, fill_prices

Progress = Callable[[int, int], None]
_REPORTED_EVERY = 64


class Phase(IntEnum):
    """Of what happens at the same moment the lower goes first; then the order of the pairs.

    At a bar's close exits go before entries, and what is filled at the next open comes after all of them. At a quote orders that are
    due meet it first; then pairs hear it in live's order: those of which its symbol is leg a before those of which it is leg b.
    """

    FILL_AT_QUOTE = 0
    FIRST = 1
    SECOND = 2
    FILL_AT_OPEN = 3


class Walk:
    """One account over one market. Deterministic: the same market, terms and pairs make the same trades."""

    def __init__(
        self,
        market: Market,
        terms: Terms,
        *,
        keep_signals: bool = False,
        progress: Progress | None = None,
        timelines: dict[tuple[tuple[Symbol, Symbol], int], Timeline] | None = None,
    ) -> None:
        """`keep_signals`: remember every signal with its z, also those denied; each is then computed exactly, which takes longer.

        `timelines`: of another walk over the same market and half spread, so that they are not laid again.
        """
        self.market = market
        self.terms = terms
        self.signals: list[Signal] = []
        self.denials: dict[PairId, Counter[str]] = {}
        self._account = Account(market, terms)
        self._keep_signals = keep_signals
        self._progress = progress
        self._pairs: dict[PairId, PairWalk] = {}
        self.timelines = {} if timelines is None else timelines
        self._windows: dict[int, Bars] = {}  # The market's bars, by the size of those that windows are made of.
        self._fills: dict[PairId, tuple[int, SignalType, float]] = {}  # Orders under way: place, what for, its z.
        self._heap: list[tuple[int, Phase, int, int, PairId]] = []
        self._orders = 0
        self._until_ms = 0
        self._events = 0

    @property
    def trades(self) -> list[BacktestTrade]:
        """Those that are over, in order of their closing."""
        return self._account.trades

    @property
    def open_pairs(self) -> frozenset[PairId]:
        """Pairs with a trade, or an order under way."""
        return frozenset(pair_id for pair_id, walk in self._pairs.items() if not walk.is_idle)

    def timeline_of(self, pair: PairConfig) -> Timeline:
        bars, quotes = self.market.bars, self.market.quotes
        bar_ms = self.terms.bar_ms_of(pair) or bars.step_ms
        timeline = self.timelines.get((pair.symbols, bar_ms))
        if timeline is None:
            window = self._windows.get(bar_ms)
            if window is None:
                window = self._windows[bar_ms] = bars.of_size(bar_ms)
            if quotes is None:
                timeline = timeline_of_bars(bars, *pair.symbols, half_spread=self.terms.half_spread, window=window)
            else:
                timeline = timeline_of_quotes(quotes, window, *pair.symbols)
            self.timelines[pair.symbols, bar_ms] = timeline
        return timeline

    def configure(self, pairs: Sequence[PairConfig], *, at_ms: int) -> None:
        """These pairs for every moment after `at_ms`. Who is not among them any more closes only; who stands idle is forgotten."""
        wanted = {pair.pair_id: pair for pair in pairs}
        for pair_id, walk in list(self._pairs.items()):
            pair = wanted.get(pair_id)
            walk.is_wanted = pair is not None and pair.symbols == walk.pair.symbols
            if not walk.is_wanted and walk.is_idle:
                del self._pairs[pair_id]
        for pair_id, pair in wanted.items():
            known = self._pairs.get(pair_id)
            if known is None:
                self._orders += 1
                timeline = self.timeline_of(pair)
                known = PairWalk(
                    self.market, self.terms, pair, timeline, order=self._orders, deny=not self._keep_signals
                )
                known.denials = self.denials.setdefault(pair_id, known.denials)
                self._pairs[pair_id] = known
            if known.is_wanted:
                known.configure(pair, start=known.timeline.first_after(at_ms))

    def run(self, until_ms: int) -> None:
        """Judge and fill every moment up to and including this one."""
        self._heap.clear()
        self._until_ms = until_ms
        for walk in self._pairs.values():
            walk.may_go_to(walk.timeline.first_after(until_ms))
            self._await(walk)
        started: int | None = None
        while self._heap:
            _, phase, _, place, pair_id = heapq.heappop(self._heap)
            walk = self._pairs[pair_id]
            at_ms = int(walk.timeline.at_ms[place])
            if phase is Phase.FIRST or phase is Phase.SECOND:
                self._judge(walk, place)
            else:
                self._fill(walk)
            if self._pairs.get(pair_id) is walk:
                self._await(walk)
            self._events += 1
            if self._progress is not None and self._events % _REPORTED_EVERY == 0:
                started = at_ms if started is None else started
                self._progress(at_ms - started, max(until_ms - started, 1))

    def finish(self) -> None:
        """The data are over: what is open is closed at the last prices seen, with `END_OF_DATA` for a reason."""
        for pair_id in [pair_id for pair_id, walk in self._pairs.items() if walk.standing.held is not None]:
            walk = self._pairs[pair_id]
            trade, timeline = walk.trade, walk.timeline
            assert trade is not None
            place, z_score = walk.mark()
            ways = (-trade.signs[0], -trade.signs[1])
            prices = (
                float(timeline.price_a[place]) + ways[0] * float(timeline.half_a[place]),
                float(timeline.price_b[place]) + ways[1] * float(timeline.half_b[place]),
            )
            slipped = (prices[0] * (1 + ways[0] * self.terms.slippage), prices[1] * (1 + ways[1] * self.terms.slippage))
            closed_ms = max(int(timeline.at_ms[place]), trade.opened_ms)
            self._book(trade, closed_ms, slipped, END_OF_DATA, z_score)
            walk.trade = None
            walk.stand()

    # What happens at one moment.

    def _await(self, walk: PairWalk) -> None:
        """Put the pair's next moment on the heap."""
        pair_id, timeline = walk.pair.pair_id, walk.timeline
        due = self._fills.get(pair_id)
        if due is not None:
            # What is due later stays in `_fills`.
            if due[0] < timeline.count and int(timeline.fill_ms[due[0]]) <= self._until_ms:
                moment, phase = int(timeline.fill_ms[due[0]]), Phase.FILL_AT_OPEN
                if timeline.rows is not None:
                    moment, phase = int(timeline.rows[0][due[0]]), Phase.FILL_AT_QUOTE
                heapq.heappush(self._heap, (moment, phase, walk.order, due[0], pair_id))
            return
        place = walk.next_place()
        if place is None:
            return
        moment, is_second = int(timeline.at_ms[place]), walk.standing.held is None
        if timeline.rows is not None:
            moment, is_second = int(timeline.rows[0][place]), bool(timeline.rows[1][place])
        phase = Phase.SECOND if is_second else Phase.FIRST
        heapq.heappush(self._heap, (moment, phase, walk.order, place, pair_id))

    def _judge(self, walk: PairWalk, place: int) -> None:
        found = walk.judge(place)
        if found is None:
            return
        pair, denial = walk.pair, ""
        if found.signal_type.is_entry:
            verdict = self._account.review(pair, walk.timeline, found)
            if isinstance(verdict, str):
                denial = verdict
                walk.denials[denial] += 1
            else:
                walk.trade = verdict
        if self._keep_signals:
            self.signals.append(
                Signal(
                    pair_id=pair.pair_id,
                    signal_type=found.signal_type,
                    at_ms=found.at_ms,
                    z_score=found.z_score,
                    denial=denial,
                )
            )
        if denial:
            return
        walk.stand(busy=True, held=not found.signal_type.is_entry)
        self._account.send(pair)
        terms = self.terms
        due = walk.timeline.fill_place(place, latency_bars=terms.latency_bars, latency_ms=terms.latency_ms)
        self._fills[pair.pair_id] = (due, found.signal_type, found.z_score)

    def _fill(self, walk: PairWalk) -> None:
        place, signal, z_score = self._fills.pop(walk.pair.pair_id)
        trade, timeline = walk.trade, walk.timeline
        assert trade is not None
        self._account.arrived(walk.pair)
        at_ms = int(timeline.fill_ms[place])
        walk.cursor = place
        if signal.is_entry:
            prices = fill_prices(timeline, place, trade.signs, self.terms.slippage)
            walk.trade = trade.filled(at_ms, *prices)
            self._account.opened(walk.trade, timeline)
            walk.stand(held=True)
            return
        prices = fill_prices(timeline, place, (-trade.signs[0], -trade.signs[1]), self.terms.slippage)
        self._book(trade, at_ms, prices, EXIT_REASON_OF[signal].value, z_score)
        walk.trade = None
        walk.stand(stopped_at_sign=(-1 if z_score < 0 else 1) if signal is SignalType.STOP else 0)
        if not walk.is_wanted:
            del self._pairs[walk.pair.pair_id]

    def _book(self, trade: OpenTrade, at_ms: int, prices: tuple[float, float], reason: str, z_score: float) -> None:
        result = trade.closed(
            self.market,
            fee_rate=self.terms.taker_fee_rate,
            closed_ms=at_ms,
            price_a=prices[0],
            price_b=prices[1],
            reason=reason,
            exit_z=z_score,
        )
        self._account.closed(trade, result)
