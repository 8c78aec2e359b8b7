"""Asking the exchange until it answers."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.ladder import step_of
from runner import events
from runner.exchange.errors import OutcomeUnknown, Unreachable
from runner.exchange.port import Exchange
from runner.execution.context import Context

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

_T = TypeVar("_T")


async def answered(context: Context, exchange: Exchange, ask: Callable[[], Awaitable[_T]]) -> _T:
    """The answer to a question without which nothing can go on, however long it takes; each failure is logged."""
    tries = 0
    while True:
        try:
            return await ask()
        except (OutcomeUnknown, Unreachable) as failure:
            context.log.emit(events.WAITING_FOR_EXCHANGE, why=str(failure))
        await context.clock.sleep(max(step_of(RETRY_SECONDS, tries), exchange.blocked_ms() / 1000))
        tries += 1
