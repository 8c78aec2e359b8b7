"""One decision a pair, and the gates over all of them: stories of a file and a market, then what holds whatever is in them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recalibration_market import BARS, OPTIONS, incumbent, market

from domain.statistics.decisions import (
    Action,
    Code,
    Decision,
    Fit,
    Incumbent,
    RecalibrationRules,
    RunGate,
    Universe,
    name_of,
)
from domain.statistics.engle_granger import Method
from domain.statistics.gates import Costs, Gates, Reason
from domain.statistics.panel import PricePanel, Space
from domain.statistics.prefilter import Prefilter, SymbolFacts
from domain.statistics.recalibration import Recalibration, recalibrate
from domain.statistics.scan import ScanOptions

CONFIGURED = RecalibrationRules(scan=OPTIONS)
LISTED = replace(CONFIGURED, universe=Universe.LISTED)
OFF_BY_HAND = {"enabled": False}
OFF_BY_US = {"enabled": False, "closed_by_us": True}
WALK = frozenset({0})


@cache
def _market(broken: frozenset[int] = frozenset(), pairs: int = 3) -> PricePanel:
    return market(broken=broken, pairs=pairs, seed=1)


def _gates(**changed: object) -> ScanOptions:
    return replace(OPTIONS, gates=replace(OPTIONS.gates, **changed))  # type: ignore[arg-type]


def _one(panel: PricePanel, one: Incumbent, rules: RecalibrationRules, **more: object) -> Decision:
    """The decision on one incumbent beside a sound one, so that no gate over the whole has a word in it."""
    return recalibrate(panel, [one, incumbent(2)], rules, **more).decisions[0]  # type: ignore[arg-type]


# One row, one story: market, incumbent, what of the rules is changed, more -> action, codes, open for entries afterwards (None: gone).
Story = tuple[
    str, frozenset[int], Incumbent, Mapping[str, object], Mapping[str, object], Action, set[Code], bool | None
]
TRADE = {"open_trades": {"P0"}}
IN_LISTED = {"universe": Universe.LISTED}
STORIES: list[Story] = [
    ("passes", frozenset(), incumbent(0), {}, {}, Action.UPDATE, {Code.PASSED}, True),
    ("disabled by a person", frozenset(), incumbent(0, **OFF_BY_HAND), {}, {}, Action.UPDATE, {Code.PASSED, Code.DISABLED_BY_HAND}, False),
    ("closed by us", frozenset(), incumbent(0, **OFF_BY_US), {}, {}, Action.UPDATE, {Code.PASSED, Code.REOPENED}, True),
    ("ran away", frozenset(), incumbent(0, 1.0), {}, {}, Action.RETIRE, {Code.HEDGE_DRIFT, Code.CLOSE_ONLY}, False),
    ("ran away, allowed", frozenset(), incumbent(0, 1.0), {"hedge_drift_max": 2}, {}, Action.UPDATE, {Code.PASSED}, True),
    ("walks", WALK, incumbent(0), {}, {}, Action.RETIRE, {Code.P_ABOVE_LEVEL, Code.CLOSE_ONLY}, False),
    ("walks, left open", WALK, incumbent(0), {"disable_unfit": False}, {}, Action.KEEP, {Code.P_ABOVE_LEVEL, Code.LEFT_OPEN}, True),
    ("walks, disabled by a person", WALK, incumbent(0, **OFF_BY_HAND), {}, {}, Action.KEEP, {Code.P_ABOVE_LEVEL, Code.DISABLED_BY_HAND}, False),
    ("walks, closed before", WALK, incumbent(0, **OFF_BY_US), {}, {}, Action.KEEP, {Code.P_ABOVE_LEVEL, Code.CLOSE_ONLY}, False),
    ("walks, a trade is open", WALK, incumbent(0), {}, TRADE, Action.RETIRE, {Code.P_ABOVE_LEVEL, Code.CLOSE_ONLY}, False),
    ("reverts too slowly", frozenset(), incumbent(0), {"scan": _gates(half_life_bars_max=0.05)}, {}, Action.RETIRE, {Code.HALF_LIFE_OUTSIDE, Code.CLOSE_ONLY}, False),
    ("does not pay", frozenset(), incumbent(0), {"scan": _gates(costs=Costs(taker_fee_bps=500))}, {}, Action.RETIRE, {Code.EDGE_BELOW_COST, Code.CLOSE_ONLY}, False),
    ("costs off", frozenset(), incumbent(0), {"scan": _gates(costs=None)}, {}, Action.UPDATE, {Code.PASSED}, True),
    ("no bars", frozenset(), incumbent(7), {}, {}, Action.KEEP, {Code.NOT_TESTED}, True),
    ("trades no more, configured", frozenset(), incumbent(0), {}, {"gone": {"A0/USDT:USDT": "not listed"}}, Action.KEEP, {Code.NOT_TESTED}, True),
    ("trades no more, listed", frozenset(), incumbent(0), IN_LISTED, {"gone": {"A0/USDT:USDT": "not listed"}}, Action.RETIRE, {Code.SYMBOL_GONE, Code.DROPPED}, None),
    ("not reached, listed", frozenset(), incumbent(0), IN_LISTED, {"unreached": {"A0/USDT:USDT": "timed out"}}, Action.KEEP, {Code.NOT_TESTED}, True),
    ("walks, listed", WALK, incumbent(0), IN_LISTED, {}, Action.RETIRE, {Code.P_ABOVE_LEVEL, Code.DROPPED}, None),
    ("walks, listed, a trade is open", WALK, incumbent(0), IN_LISTED, TRADE, Action.RETIRE, {Code.P_ABOVE_LEVEL, Code.OPEN_TRADE, Code.CLOSE_ONLY}, False),
    ("walks, listed, closed before, its trade over", WALK, incumbent(0, **OFF_BY_US), IN_LISTED, {}, Action.RETIRE, {Code.P_ABOVE_LEVEL, Code.DROPPED}, None),
    ("walks, listed, disabled by a person", WALK, incumbent(0, **OFF_BY_HAND), IN_LISTED, {}, Action.KEEP, {Code.P_ABOVE_LEVEL, Code.DISABLED_BY_HAND}, False),
    ("passes, listed", frozenset(), incumbent(0), IN_LISTED, {}, Action.UPDATE, {Code.PASSED}, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("story", "broken", "one", "changed", "more", "action", "codes", "enabled"),
    STORIES,
    ids=[row[0] for row in STORIES],
)
def test_the_story_of_an_incumbent(
    *,
    story: str,
    broken: frozenset[int],
    one: Incumbent,
    changed: Mapping[str, object],
    more: Mapping[str, object],
    action: Action,
    codes: set[Code],
    enabled: bool | None,
) -> None:
    made = _one(_market(broken), one, replace(CONFIGURED, **changed), **more)  # type: ignore[arg-type]
    assert (made.action, set(made.codes), made.after and made.after.enabled) == (action, codes, enabled)
    assert made.reason.startswith(made.findings[0].code)
    assert made.before == one
    assert made.after is None or (
        made.after.fit == made.found if action is Action.UPDATE else made.after.fit == one.fit
    )
    if made.after is not None and action is not Action.UPDATE:
        assert made.after.hedge_ratio == one.hedge_ratio, "what is not updated keeps its numbers"


def test_the_incumbents_direction_stays_and_a_candidate_takes_the_lower_t() -> None:
    panel = _market()
    turned = Incumbent(pair_id="TURNED", leg_a="B0/USDT:USDT", leg_b="A0/USDT:USDT", hedge_ratio=0.5)
    result = recalibrate(panel, [turned], replace(LISTED, max_turnover=9))
    assert (result.decisions[0].action, result.decisions[0].after and result.decisions[0].after.leg_b) == (
        "updated",
        turned.leg_b,
    )
    assert result.decisions[0].after is not None
    assert result.decisions[0].after.hedge_ratio == pytest.approx(0.5, rel=0.1)
    tests = result.scanned.tests
    added = [decision for decision in result.decisions if decision.action is Action.ADD]
    assert {decision.pair_id for decision in added} <= {"A1_B1", "B1_A1", "A2_B2", "B2_A2"}
    assert len(added) == 2
    for decision in added:
        y, x = panel.symbols.index(decision.leg_b), panel.symbols.index(decision.leg_a)
        assert tests.t_stat[y, x] <= tests.t_stat[x, y]


def test_what_is_written_is_fitted_on_the_whole_window_and_what_is_let_in_survived_the_held_out_one() -> None:
    panel = _market()
    result = recalibrate(panel, [], LISTED)
    added = [decision for decision in result.decisions if decision.action is Action.ADD]
    assert len(added) == 3
    assert {decision.after.fit.observations for decision in added if decision.after and decision.after.fit} == {BARS}
    assert result.scanned.formation_bars == BARS * 3 // 4
    torn = panel.prices.copy()
    places = [panel.symbols.index(f"B{number}/USDT:USDT") for number in range(3)]
    torn[BARS * 3 // 4 + 20 :, places] *= 1.3  # The relation ends where no fit looks.
    other = recalibrate(replace(panel, prices=torn), [], LISTED)
    assert {decision.action for decision in other.decisions} == {Action.REJECT}
    passed = [decision for decision in other.decisions if decision.codes != (Code.Q_ABOVE_LEVEL,)]
    assert [decision.codes for decision in passed] == [(Code.HOLDOUT_BROKE,)] * 3


def test_a_file_and_its_own_output_say_the_same() -> None:
    for rules in (CONFIGURED, LISTED):
        first = recalibrate(_market(WALK), [incumbent(0), incumbent(1)], rules)
        assert first.is_change
        again = recalibrate(_market(WALK), first.pairs_after, rules, same_bars=True)
        assert not again.is_change
        assert again.pairs_after == first.pairs_after


def test_a_number_changed_by_hand_is_set_right_on_the_same_bars() -> None:
    first = recalibrate(_market(), [incumbent(0), incumbent(1)], CONFIGURED)
    edited = replace(first.pairs_after[0], hedge_ratio=first.pairs_after[0].hedge_ratio * 1.01)
    again = recalibrate(_market(), [edited, first.pairs_after[1]], CONFIGURED, same_bars=True)
    assert [decision.action for decision in again.decisions] == [Action.UPDATE, Action.KEEP]


# One row, one story: pairs that walk, incumbents, rules -> actions of the incumbents, gates that refuse.
FOUR = [incumbent(number) for number in range(4)]
WHOLE: list[tuple[str, set[int], list[Incumbent], Mapping[str, object], list[str], list[RunGate]]] = [
    ("half may change", {0, 1}, FOUR, {}, ["retired", "retired", "updated", "updated"], []),
    ("more may not", {0, 1, 2}, FOUR, {}, ["retired", "retired", "retired", "updated"], [RunGate.TURNOVER_EXCEEDED]),
    ("unless allowed", {0, 1, 2}, FOUR, {"max_turnover": 0.75}, ["retired", "retired", "retired", "updated"], []),
    ("none may", {0}, FOUR, {"max_turnover": 0.0}, ["retired", "updated", "updated", "updated"], [RunGate.TURNOVER_EXCEEDED]),
    ("one always may", {0}, FOUR, {"max_turnover": 0.1}, ["retired", "updated", "updated", "updated"], []),
    ("what was closed before is no change", {0, 1, 2}, [incumbent(0, **OFF_BY_US), *FOUR[1:]], {}, ["kept", "retired", "retired", "updated"], []),
    ("half untested", set(), [incumbent(8), incumbent(9), *FOUR[2:]], {}, ["kept", "kept", "updated", "updated"], []),
    ("too many untested", set(), [incumbent(7), incumbent(8), incumbent(9), FOUR[0]], {}, ["kept", "kept", "kept", "updated"], [RunGate.NOT_ENOUGH_DATA]),
    ("nothing tested", set(), [incumbent(9)], {}, ["kept"], [RunGate.NOT_ENOUGH_DATA]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("story", "broken", "before", "changed", "actions", "gates"), WHOLE, ids=[row[0] for row in WHOLE]
)
def test_the_gates_over_the_whole(
    *,
    story: str,
    broken: set[int],
    before: list[Incumbent],
    changed: Mapping[str, object],
    actions: list[str],
    gates: list[RunGate],
) -> None:
    rules = replace(CONFIGURED, **changed)  # type: ignore[arg-type]
    result = recalibrate(_market(frozenset(broken), pairs=4), before, rules)
    assert [decision.action for decision in result.decisions] == actions
    assert [refusal.gate for refusal in result.refusals] == gates
    if gates:
        assert result.pairs_after == tuple(before)
        assert not result.is_change


def test_never_an_empty_file_over_a_full_one_unless_told_so() -> None:
    nothing = market(walks=4, pairs=2, broken=frozenset({0, 1}), seed=1)
    rules = replace(LISTED, max_turnover=1.0)
    result = recalibrate(nothing, [incumbent(0), incumbent(1)], rules)
    assert [one.enabled for one in result.pairs_after] == [False, False]
    assert all({Code.NEVER_EMPTY, Code.CLOSE_ONLY} <= set(decision.codes) for decision in result.decisions[:2])
    again = recalibrate(nothing, result.pairs_after, rules, same_bars=True)
    assert not again.is_change
    told = recalibrate(nothing, [incumbent(0), incumbent(1)], replace(rules, allow_empty=True))
    assert told.pairs_after == ()
    assert told.is_change


def test_caps_and_turnover_count_the_incumbents_first() -> None:
    panel, before = _market(pairs=4), [incumbent(0), incumbent(1)]
    for rules, added, code in (
        (replace(LISTED, max_turnover=1.0), 2, None),
        (LISTED, 1, Code.TURNOVER),
        (replace(LISTED, max_turnover=0.0), 0, Code.TURNOVER),
        (replace(LISTED, max_turnover=1.0, scan=_gates(pairs_max=3)), 1, Code.TOTAL_CAP),
        (replace(LISTED, max_turnover=1.0, scan=_gates(pairs_max=1)), 0, Code.TOTAL_CAP),
    ):
        result = recalibrate(panel, before, rules)
        assert result.counts[Action.ADD] == added
        rest = [decision for decision in result.decisions if decision.action is Action.REJECT]
        assert {decision.codes[0] for decision in rest} == ({code} if code else set())
        assert result.counts[Action.UPDATE] == 2, "a cap never puts an incumbent out"
    retired_first = recalibrate(_market(WALK, pairs=4), before, LISTED)
    assert (retired_first.counts[Action.RETIRE], retired_first.counts[Action.ADD]) == (1, 0), "one change of two pairs"
    held = Incumbent(pair_id="H", leg_a="A2/USDT:USDT", leg_b="W0/USDT:USDT", hedge_ratio=1.0, enabled=False)
    result = recalibrate(panel, [held], replace(LISTED, scan=_gates(pairs_per_symbol_max=1), max_turnover=9))
    by_name = {decision.pair_id: decision for decision in result.decisions}
    full = by_name.get("A2_B2") or by_name["B2_A2"]
    assert full.codes == (Code.SYMBOL_CAP,), "a pair that a person disabled still holds its symbols"


def test_the_same_bars_add_nothing_twice() -> None:
    result = recalibrate(_market(), [incumbent(0)], LISTED, same_bars=True)
    assert {decision.codes[0] for decision in result.decisions[1:]} == {Code.SAME_BARS}


def test_an_incumbent_of_a_symbol_that_the_prefilter_takes_out_is_retired() -> None:
    facts = {symbol: SymbolFacts(quote_volume_usd_per_day=1e9) for symbol in _market().symbols}
    poor = facts | {"A0/USDT:USDT": SymbolFacts(quote_volume_usd_per_day=1e3)}
    scan = replace(OPTIONS, prefilter=Prefilter(quote_volume_usd_per_day_min=1e6))
    made = _one(_market(), incumbent(0), replace(LISTED, scan=scan), facts=poor)
    assert made.codes == (Code.PREFILTERED, Code.DROPPED)
    assert _one(_market(), incumbent(0), replace(CONFIGURED, scan=scan), facts=poor).action is Action.UPDATE
    unknown = {symbol: known for symbol, known in facts.items() if symbol != "A0/USDT:USDT"}
    made = _one(_market(), incumbent(0), replace(LISTED, scan=scan), facts=unknown)
    assert made.action is Action.UPDATE, "that nobody asked about a symbol is no reason to put its pair out"


def test_too_many_symbols_without_bars_stop_the_run() -> None:
    missing = {f"M{number}/USDT:USDT": "timed out" for number in range(11)}
    assert recalibrate(_market(), [], LISTED, unreached=missing).refusals[0].gate is RunGate.NOT_ENOUGH_DATA
    assert not recalibrate(_market(), [], LISTED, unreached=dict(list(missing.items())[:9])).refusals


@pytest.mark.parametrize("universe", list(Universe))
@pytest.mark.parametrize(("symbols", "bars"), [(1, BARS), (0, BARS), (10, 0), (10, 3), (10, 50)])
def test_hardly_any_prices_are_too_little_data(universe: Universe, symbols: int, bars: int) -> None:
    panel = _market().only(range(symbols)).between(0, bars)
    result = recalibrate(panel, [incumbent(0)], replace(CONFIGURED, universe=universe))
    assert [refusal.gate for refusal in result.refusals] == [RunGate.NOT_ENOUGH_DATA]
    assert result.pairs_after == (incumbent(0),)


def test_every_reason_of_the_scan_has_a_code() -> None:
    unreachable = {Reason.KEPT, Reason.NOT_RANKED, Reason.OTHER_DIRECTION}
    assert {str(reason) for reason in set(Reason) - unreachable} <= {str(code) for code in Code}


@pytest.mark.parametrize(
    ("leg_a", "leg_b", "taken", "name"),
    [
        ("LTC/USDT:USDT", "BCH/USDT:USDT", set(), "LTC_BCH"),
        ("LTC/USDT:USDT", "BCH/USDC:USDC", {"LTC_BCH"}, "LTCUSDT_BCHUSDC"),
        ("LTC/USDT:USDT", "BCH/USDC:USDC", {"LTC_BCH", "LTCUSDT_BCHUSDC"}, "LTCUSDT_BCHUSDC_2"),
    ],
)
def test_a_new_pair_has_a_name_of_its_own(leg_a: str, leg_b: str, taken: set[str], name: str) -> None:
    assert name_of(leg_a, leg_b, taken) == name


@pytest.mark.parametrize("bad", [{"max_turnover": -0.1}, {"p_value_max": math.nan}, {"hedge_drift_max": math.inf}])
def test_rules_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RecalibrationRules(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels"):
        RecalibrationRules(scan=ScanOptions(method=Method(space=Space.LOGS)))


PANELS = [_market(frozenset(broken), pairs=4) for broken in ((), (0,), (1, 2), (0, 1, 2, 3))]
_torn = PANELS[0].prices.copy()
_torn[200:400, -1] = np.nan
_torn[5, 4] = 0.0
_torn[:, 6] = 7.0
PANELS.append(replace(PANELS[0], prices=_torn))

incumbents = st.lists(
    st.builds(
        lambda number, hedge, state, turned: _turned(incumbent(number, hedge, **state), turned),
        st.integers(0, 6), st.sampled_from((2.0, 1.9, 0.5, 40.0)), st.sampled_from(({}, OFF_BY_US, OFF_BY_HAND)), st.booleans(),
    ),
    max_size=6, unique_by=lambda one: one.pair_id,
)  # fmt: skip
rules_drawn = st.builds(
    RecalibrationRules,
    universe=st.sampled_from(list(Universe)),
    scan=st.builds(
        lambda per_symbol, total, costs: replace(OPTIONS, gates=Gates(pairs_per_symbol_max=per_symbol, pairs_max=total, costs=costs)),
        st.integers(0, 3), st.integers(0, 8), st.sampled_from((None, Costs(), Costs(taker_fee_bps=500))),
    ),
    p_value_max=st.sampled_from((1e-9, 0.05, 0.6)),
    hedge_drift_max=st.sampled_from((0.01, 0.25, 3.0)),
    max_turnover=st.sampled_from((0.0, 0.1, 0.34, 0.5, 1.0, 3.0)),
    untested_share_max=st.sampled_from((0.0, 0.5, 1.0)),
    disable_unfit=st.booleans(),
)  # fmt: skip


def _turned(one: Incumbent, turned: bool) -> Incumbent:
    return replace(one, leg_a=one.leg_b, leg_b=one.leg_a) if turned else one


@given(
    panel=st.sampled_from(PANELS),
    before=incumbents,
    rules=rules_drawn,
    open_trades=st.sets(st.sampled_from([f"P{number}" for number in range(7)])),
    same_bars=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_whatever_is_in_the_file_and_in_the_market(
    panel: PricePanel, before: list[Incumbent], rules: RecalibrationRules, open_trades: set[str], same_bars: bool
) -> None:
    result = recalibrate(panel, before, rules, open_trades=open_trades, same_bars=same_bars)
    after = {one.pair_id: one for one in result.pairs_after}
    _holds_for_every_pair(before, after, rules, open_trades)
    _holds_for_the_whole(result, before, rules)
    again = recalibrate(panel, result.pairs_after, rules, open_trades=open_trades, same_bars=True)
    assert again.pairs_after == result.pairs_after, "the same bars once more change nothing"


def _holds_for_every_pair(
    before: list[Incumbent], after: Mapping[str, Incumbent], rules: RecalibrationRules, open_trades: set[str]
) -> None:
    for one in before:
        kept = after.get(one.pair_id)
        if one.pair_id in open_trades or one.is_disabled_by_hand or rules.universe is Universe.CONFIGURED:
            assert kept is not None, "never dropped"
        if kept is not None:
            assert (kept.leg_a, kept.leg_b) == (one.leg_a, one.leg_b)
            assert kept.enabled <= (not one.is_disabled_by_hand)
            assert abs(kept.hedge_ratio / one.hedge_ratio - 1) <= rules.hedge_drift_max
    for one in after.values():
        assert math.isfinite(one.hedge_ratio)
        assert one.hedge_ratio > 0
        numbers = () if one.fit is None else astuple(one.fit)
        assert all(number is None or math.isfinite(number) for number in numbers)
        assert one.fit is None or one.fit.half_life_bars is None or one.fit.half_life_bars > 0
    assert len({frozenset((one.leg_a, one.leg_b)) for one in after.values()}) == len(after)


def _holds_for_the_whole(result: Recalibration, before: list[Incumbent], rules: RecalibrationRules) -> None:
    names = {one.pair_id for one in before}
    after = {one.pair_id: one for one in result.pairs_after}
    added = [one for name, one in after.items() if name not in names]
    closed = [one for one in before if one.enabled and not (one.pair_id in after and after[one.pair_id].enabled)]
    assert not before or after, "never empty"
    if not result.refusals:
        assert len(added) + len(closed) == result.changed
    limit = max(1, math.floor(rules.max_turnover * len(before))) if rules.max_turnover else 0
    assert not before or len(added) + len(closed) <= limit, "the turnover is never exceeded"
    gates = rules.scan.gates
    uses = Counter(leg for one in after.values() for leg in (one.leg_a, one.leg_b))
    for one in added:
        assert len(after) <= gates.pairs_max
        assert max(uses[one.leg_a], uses[one.leg_b]) <= gates.pairs_per_symbol_max
    assert len(result.decisions) == len({decision.pair_id for decision in result.decisions})


def test_a_fit_is_the_same_whatever_p_says() -> None:
    one = Fit(hedge_ratio=2.0, intercept=1.0, residual_std=0.5, half_life_bars=3.0, observations=9, p_value=0.01)
    assert one.is_as(replace(one, p_value=0.02, q_value=0.5))
    for changed in (
        {"hedge_ratio": 2.1},
        {"intercept": 1.1},
        {"residual_std": 0.6},
        {"half_life_bars": None},
        {"observations": 8},
    ):
        assert not one.is_as(replace(one, **changed))  # type: ignore[arg-type]
