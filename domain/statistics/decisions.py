"""The words of a recalibration: its rules, the pair that stands in the file, what was found of it, and what becomes of it."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.statistics.panel import Space
from domain.statistics.scan import ScanOptions


class Universe(StrEnum):
    """CONFIGURED: the pairs of the file, nothing is added, what is unfit stays in it and closes only. LISTED: every pair."""

    CONFIGURED = "configured"
    LISTED = "listed"


class Action(StrEnum):
    """What becomes of a pair. REJECT: a candidate near the gate; it is reported and not written."""

    KEEP = "kept"
    UPDATE = "updated"
    ADD = "added"
    RETIRE = "retired"
    REJECT = "rejected"


class Code(StrEnum):
    """Why, in stable words."""

    # An incumbent.
    PASSED = "passed"
    UNCHANGED = "unchanged"  # The same numbers as in the file.
    REOPENED = "reopened"  # An earlier recalibration had closed it for entries.
    DISABLED_BY_HAND = "disabled_by_hand"  # And so it stays.
    NOT_TESTED = "not_tested"  # Nothing could be learnt: missing bars, a status that is not `ok`.
    SYMBOL_GONE = "symbol_gone"
    PREFILTERED = "prefiltered"
    P_ABOVE_LEVEL = "p_above_level"
    HEDGE_DRIFT = "hedge_drift"
    DROPPED = "dropped"
    CLOSE_ONLY = "close_only"
    OPEN_TRADE = "open_trade"  # It would be dropped, but a trade of it is open.
    NEVER_EMPTY = "never_empty"  # It would be dropped, but the file would be empty.
    LEFT_OPEN = "left_open"  # It is unfit, and the rules say to leave it open for entries.
    # A candidate.
    Q_ABOVE_LEVEL = "q_above_level"
    UNSTABLE = "unstable"
    HOLDOUT_BROKE = "holdout_broke"
    SYMBOL_CAP = "symbol_cap"
    TOTAL_CAP = "total_cap"
    TURNOVER = "turnover"  # What was left of the turnover is spent.
    SAME_BARS = "same_bars"  # These bars were decided upon before; more of the same is not new evidence.
    # Either.
    HEDGE_NOT_POSITIVE = "hedge_not_positive"
    HALF_LIFE_OUTSIDE = "half_life_outside"
    EDGE_BELOW_COST = "edge_below_cost"


class RunGate(StrEnum):
    """A gate over the whole: when it refuses, nothing may be written."""

    NOT_ENOUGH_DATA = "not_enough_data"
    TURNOVER_EXCEEDED = "turnover_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalibrationRules:
    """The limits. `scan`: how everything is tested and what a candidate must show; its method is in levels, as the runner trades.

    `max_turnover`: share of the incumbents that may be added and retired at once, one at least unless it is 0; a file without
    pairs is filled at once. `untested_share_max`: of the incumbents, and of the universe's symbols.
    """

    universe: Universe = Universe.CONFIGURED
    scan: ScanOptions = field(default_factory=ScanOptions)
    p_value_max: float = 0.05
    hedge_drift_max: float = 0.25
    max_turnover: float = 0.5
    untested_share_max: float = 0.5
    allow_empty: bool = False
    disable_unfit: bool = True
    rejected_max: int = 20

    def __post_init__(self) -> None:
        if self.scan.method.space is not Space.LEVELS:
            raise ValueError("a recalibration is in levels: the runner trades price_b - hedge_ratio * price_a")
        for name in ("p_value_max", "hedge_drift_max", "max_turnover", "untested_share_max"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The numbers of one direction, price_b = intercept + hedge_ratio * price_a + spread. None: not known, or no such thing.

    `q_value`: within the family of the run, None outside of it. `edge_ratio`: expected reversion over costs of an entry.
    """

    hedge_ratio: float
    intercept: float
    residual_std: float
    half_life_bars: float | None
    observations: int
    t_stat: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    edge_ratio: float | None = None

    def is_as(self, other: "Fit") -> bool:
        """The same relation; p and q may differ, which no trade depends on."""
        ours = (self.hedge_ratio, self.intercept, self.residual_std, self.half_life_bars or 0.0)
        theirs = (other.hedge_ratio, other.intercept, other.residual_std, other.half_life_bars or 0.0)
        alike = all(math.isclose(one, two, rel_tol=1e-9) for one, two in zip(ours, theirs, strict=True))
        return alike and self.observations == other.observations


@dataclass(frozen=True, slots=True, kw_only=True)
class Incumbent:
    """A pair of the file. `closed_by_us`: disabled by a recalibration, not by a person. `fit`: its last calibration's numbers."""

    pair_id: str
    leg_a: str
    leg_b: str
    hedge_ratio: float
    enabled: bool = True
    closed_by_us: bool = False
    fit: Fit | None = None

    @property
    def is_disabled_by_hand(self) -> bool:
        return not self.enabled and not self.closed_by_us

    def is_as(self, found: Fit) -> bool:
        """True when writing `found` would change nothing that is traded by."""
        return self.fit is not None and replace(self.fit, hedge_ratio=self.hedge_ratio).is_as(found)

    def closed(self) -> "Incumbent":
        """The same, closed for entries by us: its numbers stay, for its open trade and for the day it comes back."""
        return replace(self, enabled=False, closed_by_us=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason and what it rests on, in words with numbers."""

    code: Code
    facts: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.facts}" if self.facts else str(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One pair's fate: what stood before, what was found in the direction that is or would be written, what stands afterwards."""

    pair_id: str
    leg_a: str
    leg_b: str
    action: Action
    findings: tuple[Finding, ...]
    before: Incumbent | None = None
    found: Fit | None = None
    after: Incumbent | None = None
    """None: it is not in the file afterwards."""

    @property
    def codes(self) -> tuple[Code, ...]:
        return tuple(finding.code for finding in self.findings)

    @property
    def reason(self) -> str:
        return "; ".join(map(str, self.findings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A gate over the whole that refused, and on what grounds."""

    gate: RunGate
    facts: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.facts}"


def name_of(leg_a: str, leg_b: str, taken: Collection[str]) -> str:
    """A pair_id that no other pair has: `LTC_BCH`, with the quotes where that is taken, and a number where those are, too."""
    short = f"{leg_a.partition('/')[0]}_{leg_b.partition('/')[0]}"
    if short not in taken:
        return short
    long = "_".join(leg.partition(":")[0].replace("/", "") for leg in (leg_a, leg_b))[:60]
    return next(name for name in (long, *(f"{long}_{n}" for n in range(2, 1000))) if name not in taken)
