"""What becomes of one pair in a recalibration: updated, refused or kept, by rules that a careful trader would sign.

updated  the pair passed; it gets the new numbers. If a recalibration had closed it for entries, it opens again.
refused  it was tested and did not pass. Its numbers stay. A pair that does not cointegrate, or whose hedge ratio has run away,
         opens no new trades (`enabled` false: open trades end by the numbers they began with) unless `disable_unfit` is off.
kept     nothing could be learnt (too few bars, gaps, no answer): the row stays exactly as it was.
A pair that a person disabled is never enabled again by a recalibration.
"""

from dataclasses import dataclass

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from flows.jobs.cointegration import PairStatus, PairTest
from runner.pairs_file import PairRow

UNFIT = "close-only: "
"""How a row's reason begins when recalibration, not a person, disabled it."""


class CalibrationRules(BaseModel):
    """When a pair's new numbers are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    timeframe: str = Field(default="1h", pattern=r"^[1-9]\d{0,2}[mhd]$", description="The candle of the test.")
    window_days: float = Field(default=60, gt=0, le=730, description="How far back the test looks, in days.")
    p_value_max: float = Field(
        default=0.05, gt=0, lt=1, description="Engle–Granger p-value above which a pair is unfit."
    )
    half_life_candles_min: float = Field(default=0.1, ge=0, description="Shortest half-life that is believed.")
    half_life_candles_max: float = Field(default=120, gt=0, description="Longest half-life worth waiting for.")
    hedge_drift_max: float = Field(
        default=0.25, gt=0, description="Largest change of the hedge ratio in one run, as a share of the old one."
    )
    observations_min: int = Field(default=200, ge=50, description="Fewest common candles that count as evidence.")
    gap_share_max: float = Field(default=0.02, ge=0, lt=0.5, description="Largest share of missing candles.")
    disable_unfit: bool = Field(default=True, description="Open no new trades in a pair that no longer passes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDecision:
    """The old row, the test, and the row that will stand in the file."""

    before: PairRow
    after: PairRow
    test: PairTest
    q_value: float | None
    decision: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What an updated row says of the run that updated it."""

    run_id: str
    calibrated_at: str
    window: str
    candle_seconds: int


def decide_pair(
    row: PairRow, test: PairTest, q_value: float | None, rules: CalibrationRules, stamp: Stamp
) -> PairDecision:
    """One pair's fate. Nothing that is NaN, infinite or not positive ever reaches a row."""
    if test.status is not PairStatus.OK:
        reason = f"{test.status}: {test.detail}"
        return PairDecision(before=row, after=row, test=test, q_value=None, decision="kept", reason=reason)
    problem = _problem(row, test, rules)
    if problem is not None:
        after = row
        if rules.disable_unfit and row.enabled:
            after = msgspec.structs.replace(row, enabled=False, reason=UNFIT + problem)
            problem = UNFIT + problem
        return PairDecision(before=row, after=after, test=test, q_value=q_value, decision="refused", reason=problem)
    assert test.hedge_ratio is not None
    reason = f"p {test.p_value:.3g}, hedge ratio {_drift(row, test.hedge_ratio):+.2%}"
    closed_by_us = not row.enabled and (row.reason or "").startswith(UNFIT)
    if closed_by_us:
        reason += ", open for entries again"
    elif not row.enabled:
        reason += ", left disabled by hand"
    after = msgspec.structs.replace(
        row,
        hedge_ratio=test.hedge_ratio,
        half_life_candles=test.half_life,
        candle_seconds=stamp.candle_seconds,
        intercept=test.intercept,
        spread_mean=test.spread_mean,
        spread_std=test.spread_std,
        t_stat=test.t_stat,
        p_value=test.p_value,
        q_value=q_value,
        observations=test.observations,
        calibrated_at=stamp.calibrated_at,
        window=stamp.window,
        run_id=stamp.run_id,
        reason=reason,
        enabled=row.enabled or closed_by_us,
    )
    return PairDecision(before=row, after=after, test=test, q_value=q_value, decision="updated", reason=reason)


def _problem(row: PairRow, test: PairTest, rules: CalibrationRules) -> str | None:
    """Why the new numbers are not taken, or None."""
    assert test.hedge_ratio is not None
    assert test.p_value is not None
    if test.p_value > rules.p_value_max:
        return f"p {test.p_value:.3g} is above {rules.p_value_max:g}"
    if test.hedge_ratio <= 0:
        return f"hedge ratio {test.hedge_ratio:.6g} is not above 0: both legs would stand on the same side"
    if test.half_life is None:
        return "the spread does not come back"
    if not rules.half_life_candles_min <= test.half_life <= rules.half_life_candles_max:
        bounds = f"{rules.half_life_candles_min:g} to {rules.half_life_candles_max:g}"
        return f"half-life {test.half_life:.3g} candles is outside {bounds}"
    drift = _drift(row, test.hedge_ratio)
    if abs(drift) > rules.hedge_drift_max:
        return (
            f"hedge ratio {row.hedge_ratio:.6g} would move by {drift:+.1%} to {test.hedge_ratio:.6g},"
            f" more than {rules.hedge_drift_max:.0%}; allow it with a larger hedge_drift_max"
        )
    return None


def _drift(row: PairRow, hedge_ratio: float) -> float:
    return hedge_ratio / row.hedge_ratio - 1
