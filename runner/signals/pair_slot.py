"""What the signal generator keeps for one pair: its rules, its standing, its statistics and the band a tick is compared with."""

import math

import msgspec

from domain.decide import EntryRules, HeldTrade, PairState, band_of
from domain.pairs import PairConfig, SignalType
from domain.spread import EVERYTHING, Band, SpreadMoments, statistics_of
from runner.signals.bars import LegBars

LOOK = Band(math.inf, -math.inf)
"""A band that every spread is outside of: the next tick is looked at, whatever it says."""


class PairSlot:
    """One pair. `refresh` must follow every change, so that the rows that ticks are compared with say the same."""

    __slots__ = (
        "close_only",
        "closed_bar",
        "failed",
        "index_a",
        "index_b",
        "leg_a",
        "leg_b",
        "pair",
        "rules",
        "signalled_ns",
        "standing",
        "statistics",
    )

    def __init__(self, pair: PairConfig, leg_a: LegBars, leg_b: LegBars) -> None:
        self.standing = PairState()
        self.statistics: SpreadMoments | None = None
        self.closed_bar: int | None = None  # The bar `statistics` ends with.
        self.signalled_ns: int | None = None
        self.failed = False
        self.pair = pair
        self.configure(pair)
        self.attach(leg_a, leg_b)
        self.refresh(0)

    def attach(self, leg_a: LegBars, leg_b: LegBars) -> None:
        """Go by the bars of these legs from here on. What was known of others is forgotten; `refresh` must follow."""
        self.leg_a, self.leg_b = leg_a, leg_b
        self.index_a, self.index_b = len(leg_a.rows_a), len(leg_b.rows_b)
        self.statistics = self.closed_bar = None
        leg_a.rows_a.append((-math.inf, math.inf, self.hedge_ratio, leg_b, self))
        leg_b.rows_b.append((-math.inf, math.inf, self.hedge_ratio, leg_a, self))

    def configure(self, pair: PairConfig) -> None:
        """Take new rules. An open trade goes on with what it was opened with."""
        if self.closed_bar is not None and pair.hedge_ratio != self.pair.hedge_ratio:
            # Mean and deviation of another spread: none at all until both legs have closed the same bar.
            self.statistics = self.closed_bar = None
        self.pair = pair
        self.rules = EntryRules(pair.entry_z, pair.stop_z)
        self.close_only = not pair.enabled

    @property
    def bar_seconds(self) -> int:
        """Of the bars that its statistics are made of."""
        return self.leg_a.grid.bar_seconds

    @property
    def held(self) -> HeldTrade | None:
        return self.standing.held

    @property
    def hedge_ratio(self) -> float:
        """Of the open trade if there is one, else as configured."""
        held = self.standing.held
        return self.pair.hedge_ratio if held is None else held.hedge_ratio

    @property
    def judged_by(self) -> SpreadMoments | None:
        """The statistics that z is measured with: the open trade's own if there is one."""
        held = self.standing.held
        return self.statistics if held is None else held.statistics

    @property
    def spread(self) -> float:
        """At the newest mids; NaN while one of them is missing."""
        return self.leg_b.mid - self.hedge_ratio * self.leg_a.mid

    @property
    def is_idle(self) -> bool:
        """True when nothing is held and nothing under way: the pair may be forgotten."""
        return self.standing.held is None and not self.standing.busy

    def recompute(self) -> bool:
        """Exact statistics of the newest bar that both legs have closed. Return False while the legs are a bar apart."""
        newest = self.leg_a.newest
        if newest is None or newest != self.leg_b.newest:
            return False
        self.statistics = statistics_of(self.leg_b.closes - self.pair.hedge_ratio * self.leg_a.closes)
        self.closed_bar = newest
        return True

    def refresh(self, now_ms: int) -> None:
        """Write the band into both legs' rows. `now_ms` is market time: a time stop that is due wants to be looked at."""
        band = self._band(now_ms)
        hedge_ratio = self.hedge_ratio
        self.leg_a.rows_a[self.index_a] = (band.low, band.high, hedge_ratio, self.leg_b, self)
        self.leg_b.rows_b[self.index_b] = (band.low, band.high, hedge_ratio, self.leg_a, self)
        self.leg_a.calm_high = self.leg_b.calm_high = -math.inf

    def _band(self, now_ms: int) -> Band:
        standing = self.standing
        if self.failed:
            return EVERYTHING
        held = standing.held
        if held is None:
            return EVERYTHING if self.close_only else band_of(standing, self.rules, self.statistics)
        if not standing.busy and held.time_stop_ms is not None and now_ms >= held.time_stop_ms:
            return LOOK
        return band_of(standing, self.rules, self.statistics)

    def stand(self, *, now_ms: int, **changes: object) -> None:
        """Change the standing and what follows from it."""
        self.standing = msgspec.structs.replace(self.standing, **changes)
        self.refresh(now_ms)

    def remember(self, signal: SignalType, now_ms: int, received_ns: int) -> None:
        """Note a signal that is being given, so that it is not given twice."""
        self.signalled_ns = received_ns
        self.stand(now_ms=now_ms, last_signal=signal, last_signal_ms=now_ms)

    @property
    def state_label(self) -> str:
        """The standing in a word or two, for people."""
        standing = self.standing
        if self.failed:
            return "failed"
        if standing.held is not None:
            return f"closing {standing.held.side}" if standing.busy else f"holding {standing.held.side}"
        if standing.busy:
            return "opening"
        if self.close_only:
            return "closes only"
        if self.statistics is None:
            return "warming up"
        return "waiting for the mean" if standing.stopped_at_sign else "watching"
