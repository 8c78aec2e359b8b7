"""Two legs are one position: every way they can stand, and what each way asks for."""

from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.legs import (
    CLOSING,
    OPENING,
    ClosePlan,
    LegState,
    Plan,
    Remainder,
    hedge_gap,
    opening_plan,
    reduce_only_is_safe,
    standing_of,
)
from domain.orders import OrderStatus

D = Decimal
QUANTITIES = st.decimals("0.001", "1000000", places=3)
RATIOS = st.decimals("0.0001", "10000", places=4)

MIRROR_OPENING = {
    Plan.WAIT: Plan.WAIT,
    Plan.BALANCE: Plan.BALANCE,
    Plan.NOTHING: Plan.NOTHING,
    Plan.UNWIND_A: Plan.UNWIND_B,
    Plan.UNWIND_B: Plan.UNWIND_A,
    Plan.CANCEL_A: Plan.CANCEL_B,
    Plan.CANCEL_B: Plan.CANCEL_A,
}
MIRROR_CLOSING = {
    ClosePlan.WAIT: ClosePlan.WAIT,
    ClosePlan.DONE: ClosePlan.DONE,
    ClosePlan.CLOSE_BOTH: ClosePlan.CLOSE_BOTH,
    ClosePlan.CLOSE_A: ClosePlan.CLOSE_B,
    ClosePlan.CLOSE_B: ClosePlan.CLOSE_A,
}


def test_none_of_the_nine_ways_is_missing() -> None:
    assert set(OPENING) == set(product(LegState, LegState))
    assert set(CLOSING) == set(product(Remainder, Remainder))


@pytest.mark.parametrize(("a", "b"), list(product(LegState, LegState)))
def test_swapping_the_legs_mirrors_the_opening_plan(a: LegState, b: LegState) -> None:
    assert OPENING[b, a] is MIRROR_OPENING[OPENING[a, b]]


@pytest.mark.parametrize(("a", "b"), list(product(Remainder, Remainder)))
def test_swapping_the_legs_mirrors_the_closing_plan(a: Remainder, b: Remainder) -> None:
    assert CLOSING[b, a] is MIRROR_CLOSING[CLOSING[a, b]]


def test_opening_never_unwinds_while_anything_works() -> None:
    """The unknown leg may yet fill: unwinding the other one before it is known would double the trouble."""
    for (a, b), plan in OPENING.items():
        if LegState.WORKING in (a, b):
            assert plan in {Plan.WAIT, Plan.CANCEL_A, Plan.CANCEL_B}


def test_opening_leaves_nothing_naked() -> None:
    """Whatever is held once nothing works is weighed; nothing held is nothing."""
    assert OPENING[LegState.HELD, LegState.GONE] is Plan.BALANCE
    assert OPENING[LegState.GONE, LegState.HELD] is Plan.BALANCE
    assert OPENING[LegState.WORKING, LegState.GONE] is Plan.CANCEL_A
    assert OPENING[LegState.HELD, LegState.WORKING] is Plan.WAIT
    assert OPENING[LegState.WORKING, LegState.WORKING] is Plan.WAIT
    assert OPENING[LegState.HELD, LegState.HELD] is Plan.BALANCE
    assert OPENING[LegState.GONE, LegState.GONE] is Plan.NOTHING


def test_a_spent_budget_ends_the_waiting_for_a_other_leg_and_nothing_else() -> None:
    for (a, b), plan in OPENING.items():
        assert opening_plan(a, b, budget_spent=False) is plan
        held_alone = plan is Plan.WAIT and LegState.HELD in (a, b)
        expected = {LegState.HELD: Plan.UNWIND_A}.get(a, Plan.UNWIND_B) if held_alone else plan
        assert opening_plan(a, b, budget_spent=True) is expected


def test_closing_never_waits_for_one_leg_with_the_other_exposed() -> None:
    for (a, b), plan in CLOSING.items():
        assert (plan in {ClosePlan.CLOSE_A, ClosePlan.CLOSE_BOTH}) == (a is Remainder.HELD)
        assert (plan in {ClosePlan.CLOSE_B, ClosePlan.CLOSE_BOTH}) == (b is Remainder.HELD)
    assert CLOSING[Remainder.FLAT, Remainder.FLAT] is ClosePlan.DONE
    assert CLOSING[Remainder.WORKING, Remainder.FLAT] is ClosePlan.WAIT
    assert CLOSING[Remainder.WORKING, Remainder.WORKING] is ClosePlan.WAIT


# status, filled -> standing
STANDINGS = [
    (OrderStatus.INTENDED, "0", LegState.WORKING),
    (OrderStatus.UNKNOWN, "0", LegState.WORKING),
    (OrderStatus.OPEN, "0", LegState.WORKING),
    (OrderStatus.PARTIALLY_FILLED, "3", LegState.WORKING),
    (OrderStatus.FILLED, "5", LegState.HELD),
    (OrderStatus.CANCELLED, "3", LegState.HELD),
    (OrderStatus.CANCELLED, "0", LegState.GONE),
    (OrderStatus.EXPIRED, "0.001", LegState.HELD),
    (OrderStatus.EXPIRED, "0", LegState.GONE),
    (OrderStatus.REFUSED, "0", LegState.GONE),
    (OrderStatus.DEAD, "0", LegState.GONE),
    (OrderStatus.DEAD, "2", LegState.HELD),  # Fills count, whatever the last status says.
]


@pytest.mark.parametrize(("status", "filled", "standing"), STANDINGS)
def test_a_leg_stands_as_its_order_ended(status: OrderStatus, filled: str, standing: LegState) -> None:
    assert standing_of(status, D(filled)) is standing


# qty a, qty b, ratio -> excess a, excess b, error
GAPS: list[tuple[str, str, str, str, str, float]] = [
    ("50", "100", "0.5", "0", "0", 0.0),
    ("51", "100", "0.5", "1", "-2", 1 / 51),
    ("49", "100", "0.5", "-1", "2", 1 / 50),
    ("50", "0", "0.5", "50", "-100", 1.0),
    ("0", "100", "0.5", "-50", "100", 1.0),
]


@pytest.mark.parametrize(("row", "error"), [(row[:5], row[5]) for row in GAPS])
def test_gaps_by_hand(row: tuple[str, ...], error: float) -> None:
    a, b, ratio, excess_a, excess_b = row
    gap = hedge_gap(D(a), D(b), D(ratio))
    assert gap.excess_a == D(excess_a)
    assert gap.excess_b == D(excess_b)
    assert gap.error == pytest.approx(error)


@given(QUANTITIES, QUANTITIES, RATIOS)
def test_trimming_the_excess_hedges(a: Decimal, b: Decimal, ratio: Decimal) -> None:
    gap = hedge_gap(a, b, ratio)
    assert 0.0 <= gap.error <= 1.0
    assert (gap.excess_a > 0) == (gap.excess_b < 0)
    trimmed = hedge_gap(a - max(gap.excess_a, D(0)), b - max(gap.excess_b, D(0)), ratio)
    assert trimmed.error < 1e-12


# net position, signed order -> may it be reduce-only?
REDUCE_ONLY = [
    ("10", "-10", True),
    ("10", "-4", True),
    ("10", "-10.001", False),  # It would be cut.
    ("10", "4", False),  # It would be refused: it increases.
    ("-10", "10", True),
    ("-10", "-1", False),
    ("0", "-5", False),  # Another pair holds the opposite: net flat.
    ("5", "0", False),
]


@pytest.mark.parametrize(("net", "order", "safe"), REDUCE_ONLY)
def test_reduce_only_by_hand(net: str, order: str, safe: bool) -> None:
    assert reduce_only_is_safe(D(net), D(order)) is safe


@given(st.decimals("-1000", "1000", places=3), st.decimals("-1000", "1000", places=3))
def test_reduce_only_is_safe_exactly_when_the_net_position_shrinks_by_all_of_it(net: Decimal, order: Decimal) -> None:
    shrinks_fully = order != 0 and abs(net + order) == abs(net) - abs(order)
    assert reduce_only_is_safe(net, order) is shrinks_fully
    assert reduce_only_is_safe(net, order) is reduce_only_is_safe(-net, -order)
