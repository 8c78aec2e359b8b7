"""What becomes of a pair: stories of a row, a test, and the row that stands afterwards."""

import msgspec
import pytest

from flows.jobs.calibration import UNFIT, CalibrationRules, Stamp, decide_pair
from flows.jobs.cointegration import PairStatus, PairTest
from runner.pairs_file import PairRow

STAMP = Stamp(run_id="r", calibrated_at="2026-01-01T00:00:00Z", window="w 1h", candle_seconds=3600)
ROW = PairRow(pair_id="P", leg_a="A/USDT", leg_b="B/USDT", hedge_ratio=2.0, z_score_threshold=2.5, half_life_candles=5)
OFF_BY_HAND = msgspec.structs.replace(ROW, enabled=False)
OFF_BY_US = msgspec.structs.replace(ROW, enabled=False, reason=UNFIT + "p 0.3 is above 0.05")
GOOD = PairTest(
    status=PairStatus.OK,
    observations=1440,
    hedge_ratio=2.1,
    intercept=1.0,
    spread_mean=1.0,
    spread_std=0.5,
    t_stat=-6.0,
    p_value=0.001,
    half_life=8.0,
)


def _but(**changes: object) -> PairTest:
    return PairTest(**{**{name: getattr(GOOD, name) for name in GOOD.__dataclass_fields__}, **changes})  # type: ignore[arg-type]


# One row, one story: the row, the test, rules -> decision, enabled afterwards, hedge ratio afterwards.
STORIES = [
    ("passes", ROW, GOOD, {}, "updated", True, 2.1),
    ("passes, disabled by a person", OFF_BY_HAND, GOOD, {}, "updated", False, 2.1),
    ("passes, closed by an earlier run", OFF_BY_US, GOOD, {}, "updated", True, 2.1),
    ("p too high", ROW, _but(p_value=0.2), {}, "refused", False, 2.0),
    ("p too high, left open", ROW, _but(p_value=0.2), {"disable_unfit": False}, "refused", True, 2.0),
    ("p just within", ROW, _but(p_value=0.05), {}, "updated", True, 2.1),
    ("hedge ratio negative", ROW, _but(hedge_ratio=-2.1), {}, "refused", False, 2.0),
    ("hedge ratio zero", ROW, _but(hedge_ratio=0.0), {"hedge_drift_max": 5}, "refused", False, 2.0),
    ("hedge ratio ran away", ROW, _but(hedge_ratio=3.0), {}, "refused", False, 2.0),
    ("ran away, allowed", ROW, _but(hedge_ratio=3.0), {"hedge_drift_max": 0.6}, "updated", True, 3.0),
    ("never comes back", ROW, _but(half_life=None), {}, "refused", False, 2.0),
    ("comes back too late", ROW, _but(half_life=500.0), {}, "refused", False, 2.0),
    ("too short", ROW, PairTest(status=PairStatus.TOO_SHORT, observations=9), {}, "kept", True, 2.0),
    ("gappy", OFF_BY_US, PairTest(status=PairStatus.GAPPY, observations=9), {}, "kept", False, 2.0),
    ("collinear", ROW, PairTest(status=PairStatus.COLLINEAR, observations=999), {}, "kept", True, 2.0),
]


@pytest.mark.parametrize(
    ("story", "row", "test", "rules", "decision", "enabled", "hedge_ratio"), STORIES, ids=[row[0] for row in STORIES]
)
def test_stories(
    *,
    story: str,
    row: PairRow,
    test: PairTest,
    rules: dict[str, object],
    decision: str,
    enabled: bool,
    hedge_ratio: float,
) -> None:
    made = decide_pair(row, test, 0.01, CalibrationRules.model_validate(rules), STAMP)
    assert (made.decision, made.after.enabled, made.after.hedge_ratio) == (decision, enabled, hedge_ratio)
    assert made.reason
    # Whatever happens, what a person wrote stays.
    assert made.after.z_score_threshold == row.z_score_threshold
    if decision != "updated":
        assert made.after.half_life_candles == row.half_life_candles
    if decision == "kept":
        assert made.after == row


def test_a_refused_pair_comes_back_once_it_passes() -> None:
    refused = decide_pair(ROW, _but(p_value=0.2), 0.5, CalibrationRules(), STAMP)
    again = decide_pair(refused.after, GOOD, 0.01, CalibrationRules(), STAMP)
    assert again.after.enabled
    assert again.after.candle_seconds == 3600
    assert again.after.half_life_candles == 8.0


def test_refused_twice_is_said_once() -> None:
    refused = decide_pair(ROW, _but(p_value=0.2), 0.5, CalibrationRules(), STAMP)
    again = decide_pair(refused.after, _but(p_value=0.4), 0.5, CalibrationRules(), STAMP)
    assert again.after == refused.after
