"""The standing of two legs as a table: nine ways an opening pair can be, nine ways a closing one can be.

A half-filled pair is a state with a way out, not an exception.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgspec

from domain.orders import TERMINAL, LegName, OrderStatus


class LegState(StrEnum):
    """One leg of a pair trade, as far as its current order goes."""

    WORKING = "working"  # In flight, resting or unknown.
    HELD = "held"  # Over, and something was filled.
    GONE = "gone"  # Over, and nothing was filled.


class Plan(StrEnum):
    """What to do next with an opening pair."""

    WAIT = "wait"
    BALANCE = "balance"  # Something is held and nothing works: hedged; or complete, trim or unwind by expected cost.
    UNWIND_A = (
        "unwind_a"  # The budget is spent: take back what it holds alone, without waiting for its other leg's fate.
    )
    UNWIND_B = "unwind_b"
    CANCEL_A = "cancel_a"  # Its other leg is gone for good: stop it before it fills.
    CANCEL_B = "cancel_b"
    NOTHING = "nothing"  # Nothing was filled on either side; the trade never was.


class ClosePlan(StrEnum):
    """What to do next with a closing pair."""

    WAIT = "wait"
    DONE = "done"
    CLOSE_A = "close_a"
    CLOSE_B = "close_b"
    CLOSE_BOTH = "close_both"


_L = LegState
_P = Plan

# fmt: off
OPENING: Mapping[tuple[LegState, LegState], Plan] = MappingProxyType({
    # leg A       leg B
    (_L.WORKING, _L.WORKING): _P.WAIT,
    (_L.WORKING, _L.HELD):    _P.WAIT,       # the clock of unhedged seconds is running.
    (_L.WORKING, _L.GONE):    _P.CANCEL_A,
    (_L.HELD,    _L.WORKING): _P.WAIT,
    (_L.HELD,    _L.HELD):    _P.BALANCE,
    (_L.HELD,    _L.GONE):    _P.BALANCE,
    (_L.GONE,    _L.WORKING): _P.CANCEL_B,
    (_L.GONE,    _L.HELD):    _P.BALANCE,
    (_L.GONE,    _L.GONE):    _P.NOTHING,
})
# Once the budget of unhedged notional x seconds is spent, these rows go before the ones above.
OVERDUE: Mapping[tuple[LegState, LegState], Plan] = MappingProxyType({
    (_L.WORKING, _L.HELD):    _P.UNWIND_B,
    (_L.HELD,    _L.WORKING): _P.UNWIND_A,
})
# fmt: on


def opening_plan(leg_a: LegState, leg_b: LegState, *, budget_spent: bool) -> Plan:
    """What to do next with an opening pair."""
    plan = OPENING[leg_a, leg_b]
    return OVERDUE.get((leg_a, leg_b), plan) if budget_spent else plan


class Remainder(StrEnum):
    """What a closing leg still holds."""

    WORKING = "working"  # An order that reduces it is in flight, resting or unknown.
    HELD = "held"
    FLAT = "flat"


_R = Remainder
_C = ClosePlan

# fmt: off
CLOSING: Mapping[tuple[Remainder, Remainder], ClosePlan] = MappingProxyType({
    (_R.WORKING, _R.WORKING): _C.WAIT,
    (_R.WORKING, _R.HELD):    _C.CLOSE_B,    # Never wait for one leg with the other exposed.
    (_R.WORKING, _R.FLAT):    _C.WAIT,
    (_R.HELD,    _R.WORKING): _C.CLOSE_A,
    (_R.HELD,    _R.HELD):    _C.CLOSE_BOTH,
    (_R.HELD,    _R.FLAT):    _C.CLOSE_A,
    (_R.FLAT,    _R.WORKING): _C.WAIT,
    (_R.FLAT,    _R.HELD):    _C.CLOSE_B,
    (_R.FLAT,    _R.FLAT):    _C.DONE,
})
# fmt: on


LEGS_TO_CLOSE: Mapping[ClosePlan, tuple[LegName, ...]] = MappingProxyType(
    {
        _C.WAIT: (),
        _C.DONE: (),
        _C.CLOSE_A: (LegName.A,),
        _C.CLOSE_B: (LegName.B,),
        _C.CLOSE_BOTH: (LegName.A, LegName.B),
    }
)


def standing_of(status: OrderStatus, filled: Decimal) -> LegState:
    """An opening leg's standing from its order. An ended order's fills count, whatever its last status says."""
    if status not in TERMINAL:
        return LegState.WORKING
    return LegState.HELD if filled > 0 else LegState.GONE


class HedgeGap(msgspec.Struct, frozen=True, kw_only=True):
    """How far two held legs are from hedging each other."""

    excess_a: Decimal  # Base units of a beyond hedge_ratio · b; negative: a is short of it.
    excess_b: Decimal  # The same gap, expressed in units of b.
    error: float  # |gap| over leg b's holding; 1.0 means wholly unhedged.


def hedge_gap(quantity_a: Decimal, quantity_b: Decimal, hedge_ratio: Decimal) -> HedgeGap:
    """The gap between qty_a and hedge_ratio·qty_b (both unsigned holdings, at least one above zero)."""
    target_a = hedge_ratio * quantity_b
    excess_a = quantity_a - target_a
    larger = max(quantity_a, target_a)
    return HedgeGap(
        excess_a=excess_a,
        excess_b=-excess_a / hedge_ratio,
        error=float(abs(excess_a) / larger) if larger else 0.0,
    )


def reduce_only_is_safe(net_position: Decimal, signed_order: Decimal) -> bool:
    """True when the exchange would let this order through as reduce-only in full.

    `net_position` is the account's signed position in the symbol, which other pairs or a person may share. An order that
    reduces *our* trade may increase or cross the net one; reduce-only would then be refused or cut.
    """
    if signed_order == 0 or net_position == 0:
        return False
    opposite = (net_position > 0) != (signed_order > 0)
    return opposite and abs(signed_order) <= abs(net_position)
