"""Who goes first when requests to an exchange have to wait."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from enum import IntEnum


class Priority(IntEnum):
    """The smaller, the more urgent."""

    UNWIND = 0  # Orders that reduce what is held, their look-ups, cancels, the exchange's time.
    PROOF = 1  # What an order of unknown fate has done.
    ENTRY = 2
    ACCOUNT = 3  # Balances and set-up.
    BACKGROUND = 4  # Rules, fees, funding, klines, flows.


_AT_LEAST: ContextVar[Priority] = ContextVar("_AT_LEAST", default=Priority.BACKGROUND)


@contextlib.contextmanager
def with_priority(priority: Priority) -> Iterator[None]:
    """Every request inside is at least so urgent: at a start, what usually is background stands before the first exit."""
    token = _AT_LEAST.set(priority)
    try:
        yield
    finally:
        _AT_LEAST.reset(token)


def raised(priority: Priority) -> Priority:
    """This priority, or the one of `with_priority` around it when that is more urgent."""
    return min(priority, _AT_LEAST.get())
