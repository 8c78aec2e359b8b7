"""One pair on its way along its timeline: what it is configured as, where it stands, and which moment it has to be judged at next."""

import math
from collections import Counter

import numpy as np

from domain.decide import REPEAT_MS_MIN, EntryRules, PairState, decide, rearmed
from domain.pairs import PairConfig, PairSide, SignalType
from domain.spread import SpreadMoments
from flows.backtest.engine.market import Market
from flows.backtest.engine.screen import CODES, LOOK, Screen, screen_of
from flows.backtest.engine.terms import Terms
from flows.backtest.engine.timeline import Timeline
from flows.backtest.engine.trades import Judgment, OpenTrade
from flows.backtest.engine.windows import statistics_at_all

_CHUNK, _CHUNK_MAX = 256, 16_384
_WINDOWS_AT_ONCE = 256
SIGNAL_OF = (SignalType.SELL, SignalType.BUY)  # By whether the spread is above its mean.


class PairWalk:
    """Judged moments only go forward: `cursor` is the first that has not been judged yet."""

    __slots__ = (
        "_deny",
        "_market",
        "_screen",
        "_statistics",
        "_stop",
        "_terms",
        "cursor",
        "denials",
        "is_wanted",
        "order",
        "pair",
        "standing",
        "timeline",
        "trade",
    )

    def __init__(
        self, market: Market, terms: Terms, pair: PairConfig, timeline: Timeline, *, order: int, deny: bool
    ) -> None:
        self._market = market
        self._terms = terms
        self._deny = deny
        self._screen: Screen | None = None
        self._stop = 0
        self._statistics: dict[int, SpreadMoments | None] = {}  # Of the looks to come, by their bar.
        self.timeline = timeline
        self.order = order
        self.cursor = 0
        self.pair = pair
        self.is_wanted = True  # False: it is not configured any more and closes only.
        self.standing = PairState()
        self.trade: OpenTrade | None = None  # Approved, and from its fill on held.
        self.denials: Counter[str] = Counter()

    @property
    def is_idle(self) -> bool:
        return self.trade is None

    @property
    def may_enter(self) -> bool:
        return self.is_wanted and self.pair.enabled

    def configure(self, pair: PairConfig, *, start: int) -> None:
        """New rules from this moment of the timeline on. An open trade goes on with what it was opened with."""
        self.pair = pair
        self.cursor = max(self.cursor, start)
        self._screen = None
        self._statistics = {}

    def may_go_to(self, stop: int) -> None:
        """The moments before `stop` may be judged."""
        self._stop = stop
        self._screen = None

    # The next moment.

    def next_place(self) -> int | None:
        """The next moment at which there may be something to decide; None before `stop`. What it passes over is counted."""
        if self.standing.busy:
            return None
        if self.standing.held is not None:
            return self._next_exit()
        if not self.may_enter:
            return None
        place = self._next_crossing() if self.standing.stopped_at_sign else self._next_look()
        if place is not None and self.standing.stopped_at_sign and self._screened().surely_crosses(place):
            # Armed again before this moment is judged, as `judge` would do; it may call for a signal itself.
            before = self.standing
            self.standing = PairState(last_signal=before.last_signal, last_signal_ms=before.last_signal_ms)
            self.cursor = place
            place = self._next_look()
        self.cursor = self._stop if place is None else place
        return place

    def _next_exit(self) -> int | None:
        """By the very comparisons of `decide`, on many moments at once."""
        held, timeline = self.standing.held, self.timeline
        assert held is not None
        start, chunk = self.cursor, _CHUNK
        while start < self._stop:
            stop = min(start + chunk, self._stop)
            spread = timeline.price_b[start:stop] - held.hedge_ratio * timeline.price_a[start:stop]
            z = (spread - held.statistics.mean) / held.statistics.std
            towards_mean = z if held.side is PairSide.SELL else -z
            leaves = (towards_mean <= -held.stop_z) | (towards_mean >= -held.exit_z)
            if held.time_stop_ms is not None:
                leaves |= timeline.laid_ms[start:stop] >= held.time_stop_ms
            found = int(leaves.argmax())
            if leaves[found]:
                return start + found
            start, chunk = stop, min(chunk * 2, _CHUNK_MAX)
        return None

    def _next_crossing(self) -> int | None:
        """After a stop: where the spread may have crossed its mean."""
        screen = self._screened()
        crossed = screen.may_be_above if self.standing.stopped_at_sign < 0 else screen.may_be_below
        start, chunk = self.cursor, _CHUNK
        while start < self._stop:
            stop = min(start + chunk, self._stop)
            part = crossed[start - screen.start : stop - screen.start]
            found = int(part.argmax())
            if part[found]:
                return start + found
            start, chunk = stop, min(chunk * 2, _CHUNK_MAX)
        return None

    def _next_look(self) -> int | None:
        screen = self._screened()
        first = int(screen.moments.searchsorted(self.cursor))
        if self.timeline.apart_ms < REPEAT_MS_MIN:
            return self._next_unrepeated(screen, first)
        look = int(screen.looks.searchsorted(first))
        end = int(screen.looks[look]) if look < screen.looks.size else screen.moments.size
        if end > first:
            for code, counts in enumerate(screen.counts, start=1):
                passed = int(counts[end]) - int(counts[first])
                if passed:
                    self.denials[CODES[code]] += passed
        return int(screen.moments[end]) if end < screen.moments.size else None

    def _next_unrepeated(self, screen: Screen, first: int) -> int | None:
        """Moments closer than the time in which a signal is not repeated: one by one, so that each knows the one before."""
        for at in range(first, screen.moments.size):
            place, code = int(screen.moments[at]), int(screen.codes[at])
            if code == LOOK:
                return place
            signal, now_ms = SIGNAL_OF[bool(screen.upwards[at])], int(self.timeline.at_ms[place])
            if signal is self.standing.last_signal and now_ms - self.standing.last_signal_ms < REPEAT_MS_MIN:
                continue
            self.denials[CODES[code]] += 1
            self.standing = PairState(last_signal=signal, last_signal_ms=now_ms)
        return None

    def _screened(self) -> Screen:
        if self._screen is None:
            span = slice(min(self.cursor, self._stop), self._stop)
            self._screen = screen_of(self._market, self._terms, self.timeline, self.pair, span, deny=self._deny)
        return self._screen

    # The judgment.

    def judge(self, place: int) -> Judgment | None:
        """Exactly as live: the signal that this moment calls for, if any. The cursor goes past it."""
        self.cursor = place + 1
        before = self.standing
        held = before.held
        now_ms = int(self.timeline.at_ms[place])
        spread = self._spread_at(place, self.pair.hedge_ratio if held is None else held.hedge_ratio)
        current = self._statistics_at(place) if held is None else held.statistics
        if held is None and rearmed(before, spread, current):
            before = self.standing = PairState(last_signal=before.last_signal, last_signal_ms=before.last_signal_ms)
        signal = decide(spread, before, EntryRules(self.pair.entry_z, self.pair.stop_z), current, now_ms)
        if signal is None or current is None:
            return None
        self.standing = PairState(held=held, last_signal=signal, last_signal_ms=now_ms)
        return Judgment(place, now_ms, signal, spread, current)

    def _spread_at(self, place: int, hedge_ratio: float) -> float:
        return float(self.timeline.price_b[place]) - hedge_ratio * float(self.timeline.price_a[place])

    def _statistics_at(self, place: int) -> SpreadMoments | None:
        bar = int(self.timeline.bar[place])
        if bar not in self._statistics:
            self._statistics = self._statistics_from(place, bar)
        return self._statistics[bar]

    def _statistics_from(self, place: int, bar: int) -> dict[int, SpreadMoments | None]:
        """Of this moment's bar and of those of the looks that come next."""
        timeline, screen = self.timeline, self._screened()
        first = int(screen.moments[screen.looks].searchsorted(place))
        ahead = timeline.bar[screen.moments[screen.looks[first : first + _WINDOWS_AT_ONCE]]]
        ends = np.array(sorted({bar, *ahead.tolist()}))
        found = statistics_at_all(
            timeline.closes_a,
            timeline.closes_b,
            self.pair.hedge_ratio,
            first_bar=timeline.first_bar,
            ends=ends,
            size=self._terms.lookback_bars,
        )
        return dict(zip(ends.tolist(), found, strict=True))

    # What becomes of it.

    def stand(self, *, busy: bool = False, stopped_at_sign: int = 0, held: bool = False) -> None:
        """Where it stands after an order was sent or filled; the last signal stays known."""
        before = self.standing
        self.standing = PairState(
            held=self.trade.held if held and self.trade is not None else None,
            busy=busy,
            stopped_at_sign=stopped_at_sign,
            last_signal=before.last_signal,
            last_signal_ms=before.last_signal_ms,
        )

    def mark(self) -> tuple[int, float]:
        """The last moment that may be judged, and the open trade's z there; NaN without a trade."""
        place = max(self._stop - 1, 0)
        held = self.standing.held
        if held is None:
            return place, math.nan
        return place, held.statistics.z_score(self._spread_at(place, held.hedge_ratio))
