"""When an order whose fate is unknown may be called dead: evidence in, verdict out.

Dead means: it never was accepted and cannot be any more. The exchange accepts a request only while its own clock is within
timestamp + recvWindow (binance-usdm.md, section 2), so before that bound no absence says anything. After it, one "does not exist"
proves nothing either: about one in 800 is said right after a success, and orders that ended long ago are forgotten. Only order
query, open orders, executions and position together are proof, and a question that was not answered is not an absence.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from domain.units import MINUTE_MS

LOOKS_MIN = 3
"""Answers "does not exist" in a row, after the bound."""
SETTLE_MS = 1_000
"""From the first of them to the verdict: replicas of the exchange may lag behind its matching."""
STRANGE_POSITION_MS = MINUTE_MS
"""How long a position that this order cannot explain keeps it from being called dead."""


class Resolution(StrEnum):
    """Every other verdict than DEAD means: look again."""

    DEAD = "dead"
    TOO_EARLY = "too_early"  # The exchange might still accept it.
    LOOK_AGAIN = "look_again"  # Too few answers, or one of the questions was not answered.
    RESTING = "resting"  # Open orders know it.
    EXECUTION_UNEXPLAINED = "execution_unexplained"  # It may be this order's: nobody has named another owner.
    IN_FLIGHT = "in_flight"  # Another order of ours moves the same position.
    POSITION_MOVED = "position_moved"  # As if it had been executed.
    POSITION_STRANGE = "position_strange"  # It differs, but not in a way this order could have made.


MOVED_POSITION_MS = 300_000
"""The same for a position that moved as if it had been executed. An execution of ours would be in the account's list of trades
by then; a person's trade that nobody saw is the likelier cause, and exits of other pairs wait for these symbols."""


UNDECIDABLE = frozenset({Resolution.EXECUTION_UNEXPLAINED, Resolution.POSITION_MOVED})
"""What no second look makes clearer: a person is called."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one order; None: the question was not answered."""

    past_bound_ms: int  # Beyond the last moment at which the exchange could have accepted it; negative before.
    absences: int  # Order queries in a row, after the bound, that said it does not exist.
    absent_for_ms: int  # Since the first of these.
    is_resting: bool | None
    unexplained_executions: int | None  # On its side since it was intended, of no order known to us, owner not named.
    working_orders: int  # Others of ours in the symbol that are accepted and not yet wholly in our books.
    unknown_buys: Decimal  # Base units of all our orders in the symbol without a known fate, this one included.
    unknown_sells: Decimal
    position_change: Decimal | None  # The exchange's position less our book's, less what is known to be others'.


def judge(seen: Evidence) -> Resolution:
    """Pure; the first doubt in order is the verdict."""
    if seen.past_bound_ms <= 0:
        return Resolution.TOO_EARLY
    if seen.absences < LOOKS_MIN or seen.absent_for_ms < SETTLE_MS:
        return Resolution.LOOK_AGAIN
    if seen.is_resting is None or seen.unexplained_executions is None or seen.position_change is None:
        return Resolution.LOOK_AGAIN
    if seen.is_resting:
        return Resolution.RESTING
    if seen.unexplained_executions:
        return Resolution.EXECUTION_UNEXPLAINED
    if seen.working_orders:
        return Resolution.IN_FLIGHT
    return _by_position(seen, seen.position_change)


def _by_position(seen: Evidence, change: Decimal) -> Resolution:
    has_time_passed = seen.absent_for_ms >= STRANGE_POSITION_MS
    if change == 0:
        # A purchase and a sale that were both executed would leave no trace here either.
        could_cancel_out = seen.unknown_buys > 0 and seen.unknown_sells > 0
        return Resolution.DEAD if not could_cancel_out or has_time_passed else Resolution.POSITION_STRANGE
    if -seen.unknown_sells <= change <= seen.unknown_buys:
        return Resolution.DEAD if seen.absent_for_ms >= MOVED_POSITION_MS else Resolution.POSITION_MOVED
    return Resolution.DEAD if has_time_passed else Resolution.POSITION_STRANGE
