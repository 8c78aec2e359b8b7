"""A recalibration's limits, and how a row of the pairs file and a decision about it turn into each other.

The decisions themselves are `domain/statistics/recalibration.py`. A pair that a person disabled is never enabled again.
"""

from dataclasses import dataclass, replace

import msgspec

from domain.statistics.decisions import Action, Decision, Fit, Incumbent, RecalibrationRules, Universe
from domain.symbols import unified
from flows.recalibrate.rules import CalibrationRules
from flows.scan.job import options_of
from runner.config import SignalSettings
from runner.pairs.file import PairRow

UNFIT = "close-only: "
"""How the reason of such a row begins, for people."""
CLOSED_BY = "recalibration"
"""`closed_by` of a row that a recalibration, not a person, disabled."""


def closed_by_recalibration(row: PairRow) -> bool:
    """Whether a recalibration disabled this pair. Rows of earlier releases say so in their reason alone: read here, nowhere else."""
    if row.enabled:
        return False
    return row.closed_by == CLOSED_BY or (row.closed_by is None and (row.reason or "").startswith(UNFIT))


def limits_of(rules: CalibrationRules, signal: SignalSettings) -> RecalibrationRules:
    """The limits, an entry's edge reckoned from where the runner enters to where it leaves."""
    scan = options_of(rules)
    costs = scan.gates.costs
    if costs is not None:
        costs = replace(costs, entry_z=signal.entry_threshold, exit_z=signal.exit_threshold)
        scan = replace(scan, gates=replace(scan.gates, costs=costs))
    return RecalibrationRules(
        universe=Universe(rules.universe),
        scan=scan,
        p_value_max=rules.p_value_max,
        hedge_drift_max=rules.hedge_drift_max,
        max_turnover=rules.max_turnover,
        untested_share_max=rules.untested_share_max,
        allow_empty=rules.allow_empty,
        disable_unfit=rules.disable_unfit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What an updated row says of the run that updated it."""

    run_id: str
    calibrated_at: str
    window: str
    candle_seconds: int
    hedge_estimator: str


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
        closed_by_us=closed_by_recalibration(row),
        fit=fit,
    )


def row_of(decision: Decision, row: PairRow | None, stamp: Stamp) -> PairRow | None:
    """The row that stands in the file afterwards; None: none. `row` is what stood before. What a person wrote stays."""
    after, found = decision.after, decision.found
    if decision.action is Action.KEEP or after is None:
        return row if after is not None else None
    if decision.action is Action.RETIRE:
        assert row is not None
        return msgspec.structs.replace(row, enabled=False, reason=UNFIT + decision.reason, closed_by=CLOSED_BY)
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
        hedge_estimator=stamp.hedge_estimator,
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
        closed_by=None if after.enabled else base.closed_by,
        enabled=after.enabled,
    )
