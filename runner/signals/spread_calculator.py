"""Every pair's spread against its band, at every tick of one of its legs.

A pair's bars may be of a size of its own: a symbol has a leg on each grid that a pair of it is on, and a tick is heard on all of
them. So a pair never notices that others of the same symbol have other bars.

A tick costs two compares while its mid stays within the range in which no pair can leave its band; beyond it, one
multiply-subtract and two compares for each pair of the symbol.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from domain.pairs import PairConfig
from domain.quotes import Quote
from domain.symbols import PairId, Symbol
from runner.signals.bars import BarGrid, LegBars
from runner.signals.pair_slot import PairSlot

LeftBand = Callable[[PairSlot, float, Quote], None]

ROUNDING = 1e-12
"""Of the prices: what float arithmetic may lose between a range of mids and the spreads it stands for."""


def ignore(*_: object) -> None:
    """Who listens when nobody does."""


class PairsSpreadCalculator:
    """Keeps every pair's spread against its band, and tells when one is left. `bar_seconds`: of pairs without a size of their own."""

    def __init__(self, *, bar_seconds: int, lookback_bars: int, on_left: LeftBand, on_torn: Callable[[], None]) -> None:
        """`on_torn` is called when a window misses a bar and wants klines."""
        self._bar_seconds = bar_seconds
        self._lookback_bars = lookback_bars
        self._grids: dict[int, BarGrid] = {}  # By seconds of a bar.
        self._legs: dict[Symbol, LegBars] = {}  # Of each symbol the one with the shortest bars; from there by `longer`.
        self.slots: dict[PairId, PairSlot] = {}
        self._on_torn = on_torn
        self._on_left = on_left
        self.market_ms = 0

    def update(self, symbol: Symbol, quote: Quote) -> None:
        """Take the newest quote of one symbol."""
        leg = self._legs.get(symbol)
        while leg is not None:
            event_ms = quote.event_ms
            if event_ms < leg.due_ms or self._pass_time(leg, event_ms):
                leg.event_ms = event_ms
                leg.quote = quote
                leg.mid = mid = (quote.bid + quote.ask) * 0.5
                if not leg.calm_low < mid < leg.calm_high:
                    self._walk(leg, mid, quote)
            leg = leg.longer

    def _walk(self, leg: LegBars, mid: float, quote: Quote) -> None:
        """Compare every pair of this leg with its band, and work out how far the mid may go before that is needed again.

        Half of a pair's distance to either edge goes to each leg: while both mids stay within their halves, the spread
        stays within its band. A leg's calm is what all its pairs allow. Other legs' calms are only narrowed from here.
        A mid that is still missing is NaN, compares false and so allows everything: its own first tick will walk.
        """
        calm_low, calm_high, left = -math.inf, math.inf, False
        for low, high, hedge_ratio, other, slot in leg.rows_a:
            exposure = hedge_ratio * mid
            spread = other.mid - exposure
            if spread <= low or spread >= high:
                left = True
                other.calm_high = -math.inf
                self._on_left(slot, spread, quote)
                continue
            margin = ROUNDING * (other.mid + exposure)
            fall, rise = (spread - low) * 0.5 - margin, (high - spread) * 0.5 - margin
            calm_high = min(calm_high, mid + fall / hedge_ratio)
            calm_low = max(calm_low, mid - rise / hedge_ratio)
            other.calm_high = min(other.calm_high, other.mid + rise)
            other.calm_low = max(other.calm_low, other.mid - fall)
        for low, high, hedge_ratio, other, slot in leg.rows_b:
            exposure = hedge_ratio * other.mid
            spread = mid - exposure
            if spread <= low or spread >= high:
                left = True
                other.calm_high = -math.inf
                self._on_left(slot, spread, quote)
                continue
            margin = ROUNDING * (mid + exposure)
            fall, rise = (spread - low) * 0.5 - margin, (high - spread) * 0.5 - margin
            calm_high = min(calm_high, mid + rise)
            calm_low = max(calm_low, mid - fall)
            other.calm_high = min(other.calm_high, other.mid + fall / hedge_ratio)
            other.calm_low = max(other.calm_low, other.mid - rise / hedge_ratio)
        # Whoever heard that a band was left may have changed any of them.
        leg.calm_low, leg.calm_high = (math.inf, -math.inf) if left else (calm_low, calm_high)

    def add(self, pair: PairConfig) -> PairSlot:
        """Begin with one pair. Its statistics appear once both legs have their closes."""
        slot = PairSlot(pair, *self._legs_of(pair))
        self.slots[pair.pair_id] = slot
        self._recompute(slot)
        return slot

    def configure(self, slot: PairSlot, pair: PairConfig) -> None:
        """Take one pair's new rules. With another size of bar its window begins anew; where it stands does not change."""
        slot.configure(pair)
        if slot.bar_seconds != self._bar_seconds_of(pair):
            self._detach(slot)
            slot.attach(*self._legs_of(pair))
        self._recompute(slot)

    def drop(self, slot: PairSlot) -> None:
        """Forget one pair. Its symbols stay until they are swept: another pair may go on with their closes."""
        del self.slots[slot.pair.pair_id]
        self._detach(slot)

    @staticmethod
    def _detach(slot: PairSlot) -> None:
        for leg in (slot.leg_a, slot.leg_b):
            # New lists, because a tick may be walking over the old ones.
            leg.rows_a = [row for row in leg.rows_a if row[4] is not slot]
            leg.rows_b = [row for row in leg.rows_b if row[4] is not slot]
            for index, row in enumerate(leg.rows_a):
                row[4].index_a = index
            for index, row in enumerate(leg.rows_b):
                row[4].index_b = index

    def sweep(self, configured: Iterable[PairConfig]) -> None:
        """Forget the symbols that no pair uses and none will."""
        wanted = {(symbol, self._bar_seconds_of(pair)) for pair in configured for symbol in pair.symbols}
        for symbol in list(self._legs):
            legs = list(self._each_leg(symbol))
            used = [leg for leg in legs if leg.rows_a or leg.rows_b or (symbol, leg.grid.bar_seconds) in wanted]
            for leg in legs:
                if leg not in used:
                    leg.grid.drop(symbol)
            self._link(symbol, used)
        self._grids = {seconds: grid for seconds, grid in self._grids.items() if grid.legs}

    def _bar_seconds_of(self, pair: PairConfig) -> int:
        return self._bar_seconds if pair.bar_seconds is None else pair.bar_seconds

    def _grid(self, bar_seconds: int) -> BarGrid:
        found = self._grids.get(bar_seconds)
        if found is None:
            found = self._grids[bar_seconds] = BarGrid(bar_seconds=bar_seconds, size=self._lookback_bars)
        return found

    def _legs_of(self, pair: PairConfig) -> tuple[LegBars, LegBars]:
        """Both legs on the pair's grid, made where they are new."""
        grid = self._grid(self._bar_seconds_of(pair))
        return self._leg(grid, pair.leg_a), self._leg(grid, pair.leg_b)

    def _leg(self, grid: BarGrid, symbol: Symbol) -> LegBars:
        leg = grid.legs.get(symbol)
        if leg is None:
            leg, others = grid.leg(symbol), list(self._each_leg(symbol))
            if others:
                leg.take_quote_of(others[0])
            self._link(symbol, [*others, leg])
        return leg

    def _link(self, symbol: Symbol, legs: Iterable[LegBars]) -> None:
        """These are the symbol's legs from here on."""
        self._legs.pop(symbol, None)
        longer: LegBars | None = None
        for leg in sorted(legs, key=lambda one: -one.grid.bar_seconds):
            leg.longer = longer
            self._legs[symbol] = longer = leg

    def _each_leg(self, symbol: Symbol) -> Iterator[LegBars]:
        """The symbol's legs, the shortest bars first."""
        leg = self._legs.get(symbol)
        while leg is not None:
            yield leg
            leg = leg.longer

    # What is known of the symbols.

    @property
    def symbols(self) -> frozenset[Symbol]:
        """Every leg of a pair."""
        return frozenset(self._legs)

    def quote_of(self, symbol: Symbol) -> Quote | None:
        """The newest quote; None before the first one and after an interruption. The shortest bars are the first to doubt a time."""
        return next((leg.quote for leg in self._each_leg(symbol) if leg.quote is not None), None)

    def mark_stale(self, symbol: Symbol, *, stale: bool) -> None:
        """Of a symbol that nobody watches there is nothing to mark."""
        for leg in self._each_leg(symbol):
            leg.stale = stale

    def interrupt(self, symbols: Iterable[Symbol]) -> None:
        """The feed of these symbols broke: their quotes are not quotes until the next one comes."""
        broken = frozenset(symbols)
        for grid in self._grids.values():
            grid.interrupt(broken)

    def torn(self) -> list[LegBars]:
        """Legs whose window misses a bar."""
        return [leg for grid in self._grids.values() for leg in grid.torn()]

    def _recompute(self, slot: PairSlot) -> None:
        """Bring one pair's statistics and band up to its legs' closes."""
        slot.recompute()
        slot.refresh(self.market_ms)
        if slot.statistics is None:
            self._on_torn()

    def load(self, symbol: Symbol, rows: Sequence[tuple[int, float]], *, bar_seconds: int | None = None) -> bool:
        """Fill in one symbol's closes from klines of this size (closed bars only). Return whether its window is whole now.

        `bar_seconds` None: the size of pairs that have none of their own.
        """
        grid = self._grids.get(self._bar_seconds if bar_seconds is None else bar_seconds)
        leg = None if grid is None else grid.legs.get(symbol)
        if grid is None or leg is None:
            return True
        whole = grid.load(leg, rows)
        for row in (*leg.rows_a, *leg.rows_b):
            slot: PairSlot = row[4]
            if slot.recompute():
                slot.refresh(self.market_ms)
        return whole

    def _pass_time(self, leg: LegBars, event_ms: int) -> bool:
        """A boundary may have passed. Return whether the tick is to be believed."""
        believed, closed = leg.grid.pass_time(leg, event_ms)
        if not believed:
            return False
        self.market_ms = event_ms
        torn = False
        for done in closed:
            for row in (*done.rows_a, *done.rows_b):
                slot: PairSlot = row[4]
                if slot.closed_bar != done.newest and slot.recompute():
                    slot.refresh(event_ms)
                    torn = torn or slot.statistics is None
        if torn:
            self._on_torn()
        return True
