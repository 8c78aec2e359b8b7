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
from domain.refusals import RefusalKind


class Remedy(StrEnum):
    """What to change after a refusal."""

    RETRY = "retry"  # Nothing: the same again, after a pause. Also for a code that nobody has listed.
    WAIT = (
        "wait"  # The exchange is busy, or the request never arrived: the same again, and it is no failure of the order.
    )
    LADDER = "ladder"  # No price inside the band: walk a bounded limit outward, IOC.
    STEP_BACK = "step_back"  # Our own limit was outside the band.
    SMALLER = "smaller"  # Half as much.
    PLAIN = (
        "plain"  # Reduce-only was refused although we hold: without the flag, once the position agrees with our books.
    )
    REDUCE = "reduce"  # Only what reduces the account's position is let through.
    ROUND = "round"  # Our filters are outdated: ask for them anew; refused again, round coarser.
    ENLARGE = "enlarge"  # Too little for an order of its own: the smallest order must be larger than we think.
    HALTED = "halted"  # The contract does not trade: wait long, call a person, close the other leg meanwhile.
    PERSON = "person"  # Keys, permissions, the account's mode: no order cures it, but it is tried for ever.


_R = Remedy

_K = RefusalKind

# fmt: off
REMEDIES: Mapping[RefusalKind, Remedy] = MappingProxyType({
    _K.INSUFFICIENT_MARGIN: _R.SMALLER,    # An order that does not reduce needs margin.
    _K.POSITION_LIMIT: _R.SMALLER,
    _K.REDUCE_ONLY_REJECTED: _R.PLAIN,     # Other resting reduce-only orders may be in the way.
    _K.REDUCE_ONLY_REQUIRED: _R.REDUCE,
    _K.TOO_MANY_OPEN_ORDERS: _R.RETRY,     # Ours never rest.
    _K.LIQUIDATION: _R.WAIT,               # The exchange is closing it itself.
    _K.ACCOUNT_MODE: _R.PERSON,
    _K.NOT_PERMITTED: _R.PERSON,
    _K.TOO_LARGE: _R.SMALLER,
    _K.TOO_SMALL: _R.ENLARGE,
    _K.OFF_TICK: _R.ROUND,
    _K.OFF_STEP: _R.ROUND,
    _K.FILTER: _R.ROUND,
    _K.PRICE_BAND: _R.STEP_BACK,
    _K.NO_PRICE_IN_BAND: _R.LADDER,
    _K.NOT_TRADING: _R.HALTED,
    _K.UNSUPPORTED_TYPE: _R.LADDER,        # Market orders are off; a limit may do.
    _K.WOULD_TAKE: _R.RETRY,               # A closing order is never post-only.
    _K.NOT_FILLABLE: _R.LADDER,
    _K.REJECTED: _R.RETRY,
    _K.MALFORMED: _R.RETRY,
    _K.THROTTLED: _R.WAIT,                 # Nobody looked at the order; nor for the next two.
    _K.UNAVAILABLE: _R.WAIT,
    _K.CLOCK: _R.WAIT,                     # It is being read anew.
    _K.KEY: _R.PERSON,
    # These never answer an order; what cannot happen is tried again.
    _K.NO_SUCH_ORDER: _R.RETRY,
    _K.DUPLICATE_ID: _R.RETRY,
    _K.LEVERAGE_INVALID: _R.RETRY,
    _K.NO_CHANGE: _R.RETRY,
    _K.HAS_ORDERS: _R.RETRY,
    _K.HAS_POSITION: _R.RETRY,
    _K.SESSION_EXPIRED: _R.RETRY,
    _K.UNLISTED: _R.RETRY,
})
# fmt: on

LADDER_STEPS_MAX = 10
COUNTED_NOT = frozenset({Remedy.WAIT})
CALLS_AT_ONCE = frozenset({Remedy.HALTED, Remedy.PERSON})
WAITS_BEFORE_CALL = 20
"""Requests in a row that the exchange would not look at, after which a person is called all the same."""
PAUSES_SECONDS = (0.0, 0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 10.0)
"""By failures in a row: the first remedy is tried at once, for the leg is unhedged."""
WAITS_SECONDS = (0.2, 0.2, 0.4, 0.8, 1.6, 3.0, 5.0, 10.0)
"""By waits in a row; the exchange documents 200, 400, 800 ms for its overload."""
LONG_PAUSE_SECONDS = 5.0
"""After a refusal that no order of ours can cure."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a closing leg that is over."""

    order_type: OrderType
    quantity: Decimal
    filled: Decimal
    status: OrderStatus
    kind: RefusalKind | None = None  # Of the refusal; None: the exchange said nothing against it.


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg's closing orders have shown so far. The default is a leg that met no failure."""

    failures: int = 0  # In a row, since something last filled.
    waits: int = 0  # The same, for requests that nobody looked at.
    remedy: Remedy | None = None  # For the next order; None after a success.
    ladder_step: int = 0  # 0: a market order; else an IOC limit so many steps beyond the touch.
    quantity_max: Decimal | None = None  # What the exchange took, or half of what it did not.
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
        """True when a person must be alerted."""
        hopeless = self.remedy in CALLS_AT_ONCE
        return hopeless or self.failures >= failures_max or self.waits >= WAITS_BEFORE_CALL


def remedy_of(attempt: Attempt) -> Remedy:
    """What to change after an order that filled nothing. Never fails."""
    if attempt.status is OrderStatus.REFUSED:
        return Remedy.RETRY if attempt.kind is None else REMEDIES[attempt.kind]
    if attempt.status is OrderStatus.DEAD:
        # The exchange may have said why before it was proven: that proved nothing, and is the best reason we have.
        return Remedy.WAIT if attempt.kind is None else REMEDIES[attempt.kind]
    if attempt.status is OrderStatus.EXPIRED:
        return Remedy.LADDER  # Accepted, and nobody within its price.
    return Remedy.RETRY


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
