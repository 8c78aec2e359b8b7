"""What the next closing order looks like after the last ones failed: a table of remedies, and the fold of a leg's history.

Pure, and derived from the journal's orders alone, so that a restart goes on where the dead process stopped.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import msgspec

from domain.ladder import step_of
from domain.orders import OrderStatus, OrderType


class Remedy(StrEnum):
    """What to change after a refusal."""

    PRESS = "press"  # Nothing: the same again, after a pause. Also what a code that nobody has listed gets.
    WAIT = "wait"  # The venue is busy, or the request never arrived: the same again, and it is no failure of the order.
    LADDER = "ladder"  # No price inside the band: walk a bounded limit outward, IOC.
    STEP_BACK = "step_back"  # Our own limit was outside the band.
    SMALLER = "smaller"  # Half as much.
    PLAIN = (
        "plain"  # Reduce-only was refused although we hold: without the flag, once the position agrees with our books.
    )
    REDUCE = "reduce"  # Only what reduces the account's position is let through.
    ROUND = "round"  # Our filters are outdated: ask for them anew; refused again, round coarser.
    ENLARGE = "enlarge"  # Too little for an order of its own: the smallest order must be larger than we think.
    HALTED = "halted"  # The contract does not trade: wait long, call a person, close the sibling meanwhile.
    PERSON = "person"  # Keys, permissions, the account's mode: nothing here mends it, but it is tried for ever.


_R = Remedy

# The exchange's error codes (its documentation, "Error Codes": 11xx request, 20xx processing, 40xx filters, 50xx execution).
# fmt: off
REMEDIES: Mapping[int, Remedy] = MappingProxyType({
    # 10xx: general. None of these looked at the order.
    -1001: _R.WAIT,       # Internal error, not processed.
    -1002: _R.PERSON,     # Not authorised.
    -1003: _R.WAIT,       # Too many requests.
    -1008: _R.WAIT,       # Throttled by system-level protection; "reduce-only orders are exempt".
    -1014: _R.LADDER,     # Unsupported order combination: the other type may do.
    -1015: _R.WAIT,       # Too many new orders.
    -1021: _R.WAIT,       # Timestamp: the clock is being read anew.
    -1022: _R.PERSON,     # Bad signature.
    -5028: _R.WAIT,       # The same check at the matching engine.
    # 11xx: the request.
    -1111: _R.ROUND,      # Precision over the maximum.
    -1013: _R.ROUND,      # Filter failure.
    -1121: _R.HALTED,     # Invalid symbol.
    -1122: _R.HALTED,     # Invalid symbol status.
    -1116: _R.LADDER,     # Invalid order type: market orders are off, a limit may do.
    # 20xx: processing.
    -2014: _R.PERSON,     # API key.
    -2015: _R.PERSON,     # Key, address or permission.
    -2018: _R.SMALLER,    # Balance insufficient (an order that does not reduce needs margin).
    -2019: _R.SMALLER,    # Margin insufficient.
    -2022: _R.PLAIN,      # Reduce-only rejected.
    -2023: _R.WAIT,       # In liquidation: the exchange is closing it itself.
    -2024: _R.PLAIN,      # Position not sufficient.
    -2025: _R.PRESS,      # Too many open orders: ours never rest.
    -2026: _R.PLAIN,      # Type not supported with reduce-only.
    -2027: _R.SMALLER,    # Above the position allowed at this leverage.
    -2028: _R.SMALLER,    # Leverage smaller than permitted.
    # 40xx: filters and permissions.
    -4001: _R.STEP_BACK,  # Price below zero.
    -4002: _R.STEP_BACK,  # Price above the maximum.
    -4003: _R.ROUND,      # Quantity not above zero.
    -4004: _R.ENLARGE,    # Quantity below the minimum.
    -4005: _R.SMALLER,    # Quantity above the maximum.
    -4013: _R.STEP_BACK,  # Price below the minimum.
    -4014: _R.ROUND,      # Price off the tick.
    -4016: _R.STEP_BACK,  # Limit above the band.
    -4023: _R.ROUND,      # Quantity off the step.
    -4024: _R.STEP_BACK,  # Limit below the band.
    -4050: _R.SMALLER,    # Cross balance insufficient.
    -4061: _R.PERSON,     # Position side: somebody switched the account to hedge mode.
    -4062: _R.PLAIN,      # Improper reduce-only.
    -4087: _R.REDUCE,     # Reduce-only orders only.
    -4088: _R.PERSON,     # May not place orders.
    -4109: _R.PERSON,     # Account inactive.
    -4118: _R.PLAIN,      # Reduce-only failed: other resting reduce-only orders are in the way.
    -4131: _R.LADDER,     # The counterparty's best price is outside PERCENT_PRICE.
    -4140: _R.REDUCE,     # Not open for new positions.
    -4141: _R.HALTED,     # Closed.
    -4164: _R.ENLARGE,    # Notional below the minimum, unless reduce-only.
    -4192: _R.PERSON,     # Cooling-off period.
    -4400: _R.REDUCE,     # Quantitative rules.
    -4401: _R.REDUCE,     # Compliance.
    -5021: _R.LADDER,     # Not fillable at once.
})
# fmt: on

LADDER_STEPS_MAX = 10
COUNTED_NOT = frozenset({Remedy.WAIT})
CALLS_AT_ONCE = frozenset({Remedy.HALTED, Remedy.PERSON})
WAITS_BEFORE_CALL = 20
"""Requests in a row that the venue would not look at, after which a person is called all the same."""
PAUSES_SECONDS = (0.0, 0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 10.0)
"""By failures in a row: the first remedy is tried at once, for the leg is naked."""
WAITS_SECONDS = (0.2, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 10.0)
"""By waits in a row; the exchange documents 200, 400, 800 ms for its overload."""
LONG_PAUSE_SECONDS = 5.0
"""After a refusal that no order of ours can mend."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a closing leg that is over."""

    order_type: OrderType
    quantity: Decimal
    filled: Decimal
    status: OrderStatus
    code: int | None = None  # Of the refusal.


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg's closing orders have shown so far. The default is a leg that met no failure."""

    failures: int = 0  # In a row, since something last filled.
    waits: int = 0  # The same, for requests that nobody looked at.
    remedy: Remedy | None = None  # For the next order; None after a success.
    ladder_step: int = 0  # 0: a market order; else an IOC limit so many steps beyond the touch.
    quantity_max: Decimal | None = None  # What the venue took, or half of what it did not.
    roundings: int = 0  # Refusals of our rounding in a row.
    enlargements: int = 0  # Refusals as too small in a row.

    @property
    def is_plain(self) -> bool:
        """The next order goes without the reduce-only flag."""
        return self.remedy is Remedy.PLAIN

    @property
    def pause_seconds(self) -> float:
        """Before the next order."""
        if self.remedy is None:
            return 0.0
        if self.remedy in CALLS_AT_ONCE:
            return LONG_PAUSE_SECONDS
        if self.remedy is Remedy.WAIT:
            return step_of(WAITS_SECONDS, self.waits)
        return step_of(PAUSES_SECONDS, self.failures)

    def calls(self, failures_max: int) -> bool:
        """True when a person must be told."""
        hopeless = self.remedy in CALLS_AT_ONCE
        return hopeless or self.failures >= failures_max or self.waits >= WAITS_BEFORE_CALL


def remedy_of(attempt: Attempt) -> Remedy:
    """What an order that filled nothing asks for. Never fails: what is not in the table is pressed on with."""
    if attempt.status is OrderStatus.REFUSED:
        return REMEDIES.get(attempt.code or 0, Remedy.PRESS)
    if attempt.status is OrderStatus.DEAD:
        return Remedy.WAIT  # It never arrived.
    if attempt.status is OrderStatus.EXPIRED:
        return Remedy.LADDER  # Accepted, and nobody within its price.
    return Remedy.PRESS


def escalate(before: Escalation, attempt: Attempt) -> Escalation:
    """The state after one more order."""
    if attempt.filled > 0:
        return _after_success(before, attempt)
    remedy = remedy_of(attempt)
    counted = remedy not in COUNTED_NOT
    return Escalation(
        failures=before.failures + counted,
        waits=0 if counted else before.waits + 1,
        remedy=remedy,
        ladder_step=_ladder_step(before.ladder_step, remedy),
        quantity_max=attempt.quantity / 2 if remedy is Remedy.SMALLER else before.quantity_max,
        roundings=before.roundings + (remedy is Remedy.ROUND),
        enlargements=before.enlargements + (remedy is Remedy.ENLARGE),
    )


def _after_success(before: Escalation, attempt: Attempt) -> Escalation:
    """What worked is kept: the rung of the ladder, and twice the piece that was taken."""
    quantity_max = None if before.quantity_max is None else attempt.quantity * 2
    step = before.ladder_step if attempt.order_type is OrderType.LIMIT else 0
    return Escalation(ladder_step=step, quantity_max=quantity_max)


def _ladder_step(step: int, remedy: Remedy) -> int:
    """One rung up or down; beyond the last one a market order has its turn again, for the band moves too."""
    if remedy is Remedy.LADDER:
        return (step + 1) % (LADDER_STEPS_MAX + 1)
    if remedy is Remedy.STEP_BACK:
        return max(0, step - 1)
    return step


def escalation_of(attempts: Iterable[Attempt]) -> Escalation:
    """Fold a leg's closing orders, oldest first."""
    state = Escalation()
    for attempt in attempts:
        state = escalate(state, attempt)
    return state
