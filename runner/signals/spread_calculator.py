"""Every pair's spread against its band, at every tick of one of its legs.

A tick costs two compares while its mid stays within the range in which no pair can leave its band; beyond it, one
multiply-subtract and two compares for each pair of the symbol.
"""

import math
from collections.abc import Callable, Iterable, Sequence

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
    """Keeps every pair's spread against its band, and tells when one is left."""

    def __init__(self, *, bar_seconds: int, lookback_bars: int, on_left: LeftBand, on_torn: Callable[[], None]) -> None:
        """`on_torn` is called when a window misses a bar and wants klines."""
        self.grid = BarGrid(bar_seconds=bar_seconds, size=lookback_bars)
        self.slots: dict[PairId, PairSlot] = {}
        self._on_torn = on_torn
        self._on_left = on_left
        self._legs = self.grid.legs
        self.market_ms = 0

    def update(self, symbol: Symbol, quote: Quote) -> None:
        """Take the newest quote of one symbol."""
        leg = self._legs.get(symbol)
        if leg is None:
            return
        event_ms = quote.event_ms
        if event_ms >= leg.due_ms and not self._pass_time(leg, event_ms):
            return
        leg.event_ms = event_ms
        leg.quote = quote
        leg.mid = mid = (quote.bid + quote.ask) * 0.5
        if leg.calm_low < mid < leg.calm_high:
            return
        self._walk(leg, mid, quote)

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
        slot = PairSlot(pair, self.grid.leg(pair.leg_a), self.grid.leg(pair.leg_b))
        self.slots[pair.pair_id] = slot
        self.recompute(slot)
        return slot

    def drop(self, slot: PairSlot) -> None:
        """Forget one pair. Its symbols stay until they are swept: another pair may go on with their closes."""
        del self.slots[slot.pair.pair_id]
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
        wanted = {symbol for pair in configured for symbol in pair.symbols}
        for leg in list(self._legs.values()):
            if not (leg.rows_a or leg.rows_b or leg.symbol in wanted):
                self.grid.drop(leg.symbol)

    def recompute(self, slot: PairSlot) -> None:
        """Bring one pair's statistics and band up to its legs' closes."""
        slot.recompute()
        slot.refresh(self.market_ms)
        if slot.statistics is None:
            self._on_torn()

    def load(self, symbol: Symbol, rows: Sequence[tuple[int, float]]) -> bool:
        """Fill in one symbol's closes from klines (closed bars only). Return whether its window is whole now."""
        leg = self._legs.get(symbol)
        if leg is None:
            return True
        whole = self.grid.load(leg, rows)
        for row in (*leg.rows_a, *leg.rows_b):
            slot: PairSlot = row[4]
            if slot.recompute():
                slot.refresh(self.market_ms)
        return whole

    def _pass_time(self, leg: LegBars, event_ms: int) -> bool:
        """A boundary may have passed. Return whether the tick is to be believed."""
        believed, closed = self.grid.pass_time(leg, event_ms)
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
