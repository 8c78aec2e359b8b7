"""What a recalibration may do, and how a row of the pairs file and a decision about it turn into each other.

The decisions themselves are `domain/statistics/recalibration.py`. A pair that a person disabled is never enabled again.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from pydantic import Field

from domain.statistics.decisions import Action, Decision, Fit, Incumbent, RecalibrationRules, Universe
from domain.symbols import unified
from flows.jobs.scan import ScanRules
from runner.config import SignalSettings
from runner.pairs_file import PairRow

UNFIT = "close-only: "
"""How a row's reason begins when recalibration, not a person, disabled it."""


class CalibrationRules(ScanRules):
    """Which pairs are tested, what a pair must show to stay or to come in, and how much may change at once."""

    universe: Literal["configured", "listed"] = Field(
        default="configured",
        description="configured: the pairs of the file, nothing is added. listed: all trading contracts, pairs come and go.",
    )
    space: Literal["levels"] = Field(default="levels", description="The runner trades price levels.")
    p_value_max: float = Field(
        default=0.05, gt=0, lt=1, description="Engle–Granger p-value above which a pair of the file is unfit."
    )
    hedge_drift_max: float = Field(
        default=0.25, gt=0, description="Largest change of the hedge ratio in one run, as a share of the old one."
    )
    disable_unfit: bool = Field(default=True, description="Open no new trades in a pair that no longer passes.")
    max_turnover: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="Share of the file's pairs that may be added and retired at once, one at least; beyond it nothing is written.",
    )
    untested_share_max: float = Field(
        default=0.5, ge=0, le=1, description="Largest share of pairs, and of symbols, without usable bars."
    )
    allow_empty: bool = Field(
        default=False, description="Let the file become empty. False: its last pairs stay in it and close only."
    )

    @property
    def limits(self) -> RecalibrationRules:
        return RecalibrationRules(
            universe=Universe(self.universe),
            scan=self.options,
            p_value_max=self.p_value_max,
            hedge_drift_max=self.hedge_drift_max,
            max_turnover=self.max_turnover,
            untested_share_max=self.untested_share_max,
            allow_empty=self.allow_empty,
            disable_unfit=self.disable_unfit,
        )

    @property
    def sha256(self) -> str:
        """Of every rule: what the same bars are judged by."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def limits_of(rules: CalibrationRules, signal: SignalSettings) -> RecalibrationRules:
    """The limits, an entry's edge reckoned from where the runner enters to where it leaves."""
    limits = rules.limits
    gates = limits.scan.gates
    if gates.costs is None:
        return limits
    costs = replace(gates.costs, entry_z=signal.entry_threshold, exit_z=signal.exit_threshold)
    return replace(limits, scan=replace(limits.scan, gates=replace(gates, costs=costs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What an updated row says of the run that updated it."""

    run_id: str
    calibrated_at: str
    window: str
    candle_seconds: int


def incumbent_of(row: PairRow, *, candle_seconds: int) -> Incumbent:
    """A row as the decision sees it. Numbers of another candle are no numbers to compare with. Raises: ValueError for its symbols."""
    fit = None
    intercept, deviation, bars = row.intercept, row.spread_std, row.observations
    if intercept is not None and deviation is not None and bars is not None and row.candle_seconds == candle_seconds:
        fit = Fit(
            hedge_ratio=row.hedge_ratio,
            intercept=intercept,
            residual_std=deviation,
            half_life_bars=row.half_life_candles,
            observations=bars,
            t_stat=row.t_stat,
            p_value=row.p_value,
            q_value=row.q_value,
        )
    return Incumbent(
        pair_id=row.pair_id,
        leg_a=unified(row.leg_a),
        leg_b=unified(row.leg_b),
        hedge_ratio=row.hedge_ratio,
        enabled=row.enabled,
        closed_by_us=not row.enabled and (row.reason or "").startswith(UNFIT),
        fit=fit,
    )


def row_of(decision: Decision, row: PairRow | None, stamp: Stamp) -> PairRow | None:
    """The row that stands in the file afterwards; None: none. `row` is what stood before. What a person wrote stays."""
    after, found = decision.after, decision.found
    if decision.action is Action.KEEP or after is None:
        return row if after is not None else None
    if decision.action is Action.RETIRE:
        assert row is not None
        return msgspec.structs.replace(row, enabled=False, reason=UNFIT + decision.reason)
    assert found is not None
    base = row or PairRow(
        pair_id=decision.pair_id,
        leg_a=decision.leg_a.partition(":")[0],
        leg_b=decision.leg_b.partition(":")[0],
        hedge_ratio=found.hedge_ratio,
    )
    return msgspec.structs.replace(
        base,
        hedge_ratio=found.hedge_ratio,
        half_life_candles=found.half_life_bars,
        candle_seconds=stamp.candle_seconds,
        intercept=found.intercept,
        spread_mean=found.intercept,  # The residual's mean is 0.
        spread_std=found.residual_std,
        t_stat=found.t_stat,
        p_value=found.p_value,
        q_value=found.q_value,
        observations=found.observations,
        calibrated_at=stamp.calibrated_at,
        window=stamp.window,
        run_id=stamp.run_id,
        reason=decision.reason,
        enabled=after.enabled,
    )
