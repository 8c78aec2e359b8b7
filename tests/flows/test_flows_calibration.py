"""A row of the pairs file and a decision about it: what turns into what, and what a person wrote stays."""

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from domain.statistics.decisions import Action, Code, Decision, Finding, Fit, Incumbent, Universe
from flows.recalibrate.rows import UNFIT, Stamp, incumbent_of, limits_of, row_of
from flows.recalibrate.rules import CalibrationRules
from flows.scan.rules import ScanRules
from runner.config import SignalSettings
from runner.pairs.file import PairRow

STAMP = Stamp(
    run_id="r", calibrated_at="2026-01-01T00:00:00Z", window="w 1h", candle_seconds=3600, hedge_estimator="ols_levels"
)
ROW = PairRow(pair_id="P", leg_a="A/USDT", leg_b="B/USDT", hedge_ratio=2.0, z_score_threshold=2.5, half_life_candles=5)
OFF_BY_HAND = msgspec.structs.replace(ROW, enabled=False)
OFF_BY_US = msgspec.structs.replace(ROW, enabled=False, reason=UNFIT + "p_above_level: p 0.3 is above 0.05")
FIT = Fit(
    hedge_ratio=2.1, intercept=1.0, residual_std=0.5, half_life_bars=8.0, observations=1440, t_stat=-6.0, p_value=0.001,
    q_value=0.01, edge_ratio=3.0,
)  # fmt: skip


def decision(action: Action, row: PairRow | None, *, after: Incumbent | None, code: Code = Code.PASSED) -> Decision:
    before = None if row is None else incumbent_of(row, candle_seconds=3600)
    return Decision(
        pair_id="P", leg_a="A/USDT:USDT", leg_b="B/USDT:USDT", action=action, findings=(Finding(code=code, facts="p 0.3"),),
        before=before, found=FIT, after=after,
    )  # fmt: skip


def stands(*, enabled: bool = True, closed_by_us: bool = False) -> Incumbent:
    return Incumbent(
        pair_id="P", leg_a="A/USDT:USDT", leg_b="B/USDT:USDT", hedge_ratio=2.1, enabled=enabled, closed_by_us=closed_by_us, fit=FIT,
    )  # fmt: skip


@pytest.mark.parametrize(("row", "closed_by_us"), [(ROW, False), (OFF_BY_HAND, False), (OFF_BY_US, True)])
def test_who_disabled_a_pair_is_read_from_its_row(row: PairRow, *, closed_by_us: bool) -> None:
    one = incumbent_of(row, candle_seconds=3600)
    assert (one.leg_a, one.leg_b, one.hedge_ratio) == ("A/USDT:USDT", "B/USDT:USDT", 2.0)
    assert (one.enabled, one.closed_by_us, one.fit) == (row.enabled, closed_by_us, None)


def test_what_was_written_is_read_again_and_another_candle_is_another_measure() -> None:
    row = row_of(decision(Action.UPDATE, ROW, after=stands()), ROW, STAMP)
    assert row is not None
    one = incumbent_of(row, candle_seconds=3600)
    assert one.fit is not None
    assert one.fit.is_as(FIT)
    assert incumbent_of(row, candle_seconds=60).fit is None


# One row, one story: action, the row, what stands afterwards -> open for entries, hedge ratio, how its reason begins; None: gone.
STORIES: list[tuple[str, Action, PairRow | None, Incumbent | None, tuple[bool, float, str] | None]] = [
    ("updated", Action.UPDATE, ROW, stands(), (True, 2.1, "passed: p 0.3")),
    ("updated, disabled by a person", Action.UPDATE, OFF_BY_HAND, stands(enabled=False), (False, 2.1, "passed: p 0.3")),
    ("opened again", Action.UPDATE, OFF_BY_US, stands(), (True, 2.1, "passed: p 0.3")),
    ("retired, stays", Action.RETIRE, ROW, stands(enabled=False, closed_by_us=True), (False, 2.0, UNFIT + "passed")),
    ("retired, gone", Action.RETIRE, ROW, None, None),
    ("kept", Action.KEEP, OFF_BY_US, stands(), (False, 2.0, UNFIT + "p_above_level")),
    ("added", Action.ADD, None, stands(), (True, 2.1, "passed: p 0.3")),
]  # fmt: skip


@pytest.mark.parametrize(("story", "action", "row", "after", "expected"), STORIES, ids=[row[0] for row in STORIES])
def test_the_row_that_stands_afterwards(
    *,
    story: str,
    action: Action,
    row: PairRow | None,
    after: Incumbent | None,
    expected: tuple[bool, float, str] | None,
) -> None:
    found = row_of(decision(action, row, after=after), row, STAMP)
    if expected is None or found is None:
        assert (found, expected) == (None, None)
        return
    assert (found.enabled, found.hedge_ratio, (found.reason or "")[: len(expected[2])]) == expected
    assert found.z_score_threshold == (2.5 if row else None), "what a person wrote stays"
    assert (found.leg_a, found.leg_b) == ("A/USDT", "B/USDT")
    if action in {Action.UPDATE, Action.ADD}:
        assert (found.candle_seconds, found.half_life_candles, found.run_id) == (3600, 8.0, "r")
    else:
        assert found.half_life_candles == 5


def test_who_closed_a_pair_is_a_field_and_an_older_file_says_it_in_its_reason() -> None:
    """Row -> may a recalibration open it again."""
    closed = row_of(decision(Action.RETIRE, ROW, after=stands(enabled=False, closed_by_us=True)), ROW, STAMP)
    assert closed is not None
    reworded = msgspec.structs.replace(closed, reason="look at it on Monday")
    opened = row_of(decision(Action.UPDATE, closed, after=stands()), closed, STAMP)
    assert opened is not None
    assert opened.closed_by is None
    cases = ((closed, True), (reworded, True), (OFF_BY_US, True), (OFF_BY_HAND, False), (opened, False))
    for row, expected in cases:
        assert incumbent_of(row, candle_seconds=3600).closed_by_us is expected


def test_every_rule_of_the_scan_is_one_of_the_recalibration_and_reaches_the_decision() -> None:
    assert set(ScanRules.model_fields) < set(CalibrationRules.model_fields)
    rules = CalibrationRules(
        universe="listed", p_value_max=0.01, hedge_drift_max=0.1, max_turnover=0.2, untested_share_max=0.3, allow_empty=True,
        disable_unfit=False, q_max=0.02, pairs_max=7,
    )  # fmt: skip
    limits = limits_of(rules, SignalSettings())
    assert (limits.universe, limits.p_value_max, limits.hedge_drift_max) == (Universe.LISTED, 0.01, 0.1)
    assert (limits.max_turnover, limits.untested_share_max, limits.allow_empty) == (0.2, 0.3, True)
    assert (limits.disable_unfit, limits.scan.gates.q_max, limits.scan.gates.pairs_max) == (False, 0.02, 7)


def test_an_edge_is_reckoned_from_where_the_runner_enters_to_where_it_leaves() -> None:
    signal = SignalSettings(entry_threshold=3.0, exit_threshold=0.5)
    costs = limits_of(CalibrationRules(taker_fee_bps=4), signal).scan.gates.costs
    assert costs is not None
    assert (costs.entry_z, costs.exit_z, costs.taker_fee_bps) == (3.0, 0.5, 4.0)
    assert limits_of(CalibrationRules(min_edge_ratio=0), signal).scan.gates.costs is None


def test_the_same_rules_have_the_same_hash() -> None:
    assert CalibrationRules().sha256 == CalibrationRules().sha256
    assert CalibrationRules(pairs_max=7).sha256 != CalibrationRules().sha256


@pytest.mark.parametrize(
    "bad",
    [{"space": "logs"}, {"universe": "all"}, {"max_turnover": -1}, {"hedge_drift_max": float("inf")}, {"colour": 1}],
)
def test_impossible_rules_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        CalibrationRules(**bad)
