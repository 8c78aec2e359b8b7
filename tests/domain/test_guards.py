"""Each guard alone: one snapshot that passes, one thing changed, one objection with its facts."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.edge import Edge
from domain.guards import GUARDS, Approved, DenialCode, Denied, Limits, PreTradeSnapshot, review
from domain.pairs import PairSide, SignalType, TradingSignal
from domain.reasons import ClockCode, FilterCode, LeverageCode, SetUpCode
from domain.sizing import Sized, TooLarge, TooSmall
from domain.symbols import PairId, Symbol

D = Decimal
LIMITS = Limits(quote_age_ms_max=2_000, gross_notional_usd_max=D(10_000), daily_loss_usd_max=D(250), min_edge_ratio=1.5)
SIGNAL = TradingSignal(
    signal_id="s1", pair_id=PairId("P"), signal_type=SignalType.SELL, z_score=-2.5, spread=0.0, spread_mean=0.0, spread_std=1.0,
    price_a=1.0, price_b=1.0, confidence=0.5, suggested_position_size=500.0, at_ms=0,
)  # fmt: skip
EDGE = Edge(executable_z=-2.4, reversion=3.0, fees=1.0, exit_spread=0.5, funding=0.5)
FINE = PreTradeSnapshot(
    signal=SIGNAL, side=PairSide.SELL, entry_z=2.0, stop_z=4.0, paused_because=None, dry_run=False, journal_broken=False,
    recovering=False, user_stream_down=False, exchange_blocked_ms=0, foreign_orders=0, pair_enabled=True, pair_frozen_ms=0,
    pair_has_trade=False, symbols_not_trading=(), quote_age_ms=2_000,
    sized=Sized(quantity_a=D(1), quantity_b=D(2), hedge_error=0.01), filter_problem=None, leverage_problem=None, edge=EDGE,
    order_notional_usd=D(1_000), gross_notional_usd=D(9_000), lost_today_usd=D("249.99"), margin_needed_usd=D(300),
    margin_free_usd=D(300), entries_halted_ms=0, clock_problem=None, rules_doubted=(), unprepared={}, balance_age_ms=60_000,
)  # fmt: skip
C = DenialCode
X = Symbol("X")
SKEWED = "skewed: this machine's clock is 9 ms behind the exchange's; run NTP"
OFF_STEP = FilterCode.QUANTITY_OFF_STEP.because(quantity=D(7), step=D(2))
TOO_HIGH = LeverageCode.NOT_OFFERED.because(leverage=20, best=10, symbol=X)


def edge(**other: Any) -> dict[str, Any]:
    return {"edge": Edge(**({name: getattr(EDGE, name) for name in Edge.__struct_fields__} | other))}


# What is changed -> the objection and the facts that the ledger will show.
ALONE: list[tuple[dict[str, Any], DenialCode, dict[str, Any]]] = [
    ({"journal_broken": True}, C.JOURNAL_BROKEN, {}),
    ({"recovering": True}, C.RECOVERING, {}),
    ({"paused_because": "operator"}, C.PAUSED, {"because": "operator"}),
    ({"user_stream_down": True}, C.USER_STREAM_DOWN, {}),
    ({"exchange_blocked_ms": 1}, C.EXCHANGE_BLOCKED, {"blocked_ms": 1}),
    ({"clock_problem": ClockCode.SKEWED.because(skew_ms=9, side="behind")}, C.CLOCK_UNFIT, {"why": SKEWED}),
    ({"foreign_orders": 2}, C.FOREIGN_ORDERS, {"orders": 2}),
    ({"pair_enabled": False}, C.PAIR_CLOSE_ONLY, {}),
    ({"entries_halted_ms": 7}, C.ENTRIES_HALTED, {"for_ms": 7}),
    ({"pair_frozen_ms": 5}, C.PAIR_FROZEN, {"for_ms": 5}),
    ({"pair_has_trade": True}, C.PAIR_BUSY, {}),
    ({"symbols_not_trading": ("X",)}, C.SYMBOL_NOT_TRADING, {"symbols": ["X"]}),
    ({"unprepared": {X: SetUpCode.NOT_SET.because(why="isolated")}}, C.SYMBOL_NOT_PREPARED, {"why": "isolated"}),
    ({"rules_doubted": ("X",)}, C.RULES_DOUBTED, {"symbols": ["X"]}),
    ({"quote_age_ms": 2_001}, C.QUOTE_STALE, {"age_ms": 2_001, "age_ms_max": 2_000}),
    (
        {"sized": TooSmall(why="leg a", notional_usd_min=D("12.341")), "edge": None},
        C.SIZE_TOO_SMALL,
        {"why": "leg a", "pair_notional_usd_min": "12.35"},  # Up: what is named must suffice.
    ),
    (
        {"sized": TooLarge(why="leg b", notional_usd_max=D("12.349")), "edge": None},
        C.SIZE_TOO_LARGE,
        {"why": "leg b", "pair_notional_usd_max": "12.34"},  # Down.
    ),
    (edge(executable_z=-4.0), C.BEYOND_STOP, {"executable_z": -4.0, "stop_z": 4.0}),
    (edge(executable_z=-1.9), C.Z_NOT_EXECUTABLE, {"executable_z": -1.9, "entry_z": 2.0}),
    (edge(executable_z=2.4), C.Z_NOT_EXECUTABLE, {"executable_z": 2.4, "entry_z": 2.0}),  # Away on the wrong side.
    ({"filter_problem": (X, OFF_STEP)}, C.FILTER, {"why": "X: quantity 7 is not a multiple of 2"}),
    ({"leverage_problem": TOO_HIGH}, C.LEVERAGE, {"why": "leverage 20 is above the 10 that X allows"}),
    (edge(reversion=2.99), C.EDGE_TOO_SMALL, {"reversion_usd": 2.99, "costs_usd": 2.0, "min_edge_ratio": 1.5}),
    ({"gross_notional_usd": D("9000.01")}, C.GROSS_NOTIONAL, {"would_be_usd": "10000.01", "max_usd": "10000"}),
    ({"lost_today_usd": D(250)}, C.DAILY_LOSS, {"lost_usd": "250.00", "max_usd": "250"}),
    ({"balance_age_ms": None}, C.BALANCE_STALE, {"age_ms": None, "age_ms_max": 60_000}),
    ({"balance_age_ms": 60_001}, C.BALANCE_STALE, {"age_ms": 60_001, "age_ms_max": 60_000}),
    ({"margin_free_usd": D("299.99")}, C.MARGIN, {"needed_usd": "300.00", "free_usd": "299.99"}),
    ({"dry_run": True}, C.DRY_RUN, {"would_trade": True}),
]


def test_the_situation_that_every_guard_lets_pass() -> None:
    """At every bound, not one beyond it."""
    verdict = review(FINE, LIMITS)
    assert isinstance(verdict, Approved)
    assert verdict.signal is SIGNAL
    assert verdict.sized is FINE.sized
    assert verdict.edge is EDGE
    assert verdict.pair_id == "P"


@pytest.mark.parametrize(("change", "code", "facts"), ALONE)
def test_one_thing_wrong_is_one_objection(change: dict[str, Any], code: DenialCode, facts: dict[str, Any]) -> None:
    assert review(replace(FINE, **change), LIMITS) == Denied(code, facts)


def test_every_guard_is_told_above() -> None:
    assert {code for _, code, _ in ALONE} == {code for code, _ in GUARDS}


def test_with_everything_wrong_the_first_objection_counts() -> None:
    """What the operator must correct first is named first; a dry run is said last of all."""
    worst = FINE
    said = []
    for change, code, _ in ALONE:
        if code is C.Z_NOT_EXECUTABLE or (code is C.BEYOND_STOP):
            continue  # The same field as the edge's size.
        worst = replace(worst, **{name: value for name, value in change.items() if name != "edge"})
    is_mismatch = {name: getattr(FINE, name) for change, _, _ in ALONE for name in change}
    for _ in ALONE:
        verdict = review(worst, LIMITS)
        if isinstance(verdict, Approved):
            break
        said.append(verdict.code)
        first = next(c for c, code, _ in ALONE if code is verdict.code)
        worst = replace(worst, **{name: is_mismatch[name] for name in first})
    order = [code for code, _ in GUARDS]
    assert said == sorted(said, key=order.index)
    assert said[0] is C.JOURNAL_BROKEN
    assert said[-1] is C.DRY_RUN


def test_a_size_without_an_edge_is_not_approved() -> None:
    verdict = review(replace(FINE, edge=None), LIMITS)
    assert isinstance(verdict, Denied)
    assert verdict.code is C.INTERNAL


def test_buying_looks_at_the_other_side() -> None:
    buying = replace(FINE, side=PairSide.BUY, **edge(executable_z=2.4))
    assert isinstance(review(buying, LIMITS), Approved)
    assert isinstance(review(replace(FINE, side=PairSide.BUY), LIMITS), Denied)
