"""Reads of the exchange that no trade waits for."""

from collections.abc import Awaitable, Callable

from runner import events
from runner.exchange.errors import ExchangeError
from runner.execution.context import Context


async def attempt(context: Context, work: Callable[[], Awaitable[object]]) -> bool:
    """False when it failed, which is logged once a try; the next turn of the caller's loop tries again."""
    try:
        await work()
    except ExchangeError as error:
        context.log.emit(events.BACKGROUND_READ_FAILED, why=f"{type(error).__name__}: {error}"[:200])
        return False
    return True
