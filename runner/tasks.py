"""Ending tasks."""

import asyncio
from typing import Any


async def cancel_all(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel every task and return once all have ended, however they end; what one of them raised is dropped."""
    for task in tasks:
        if task is not None:
            task.cancel()
    await ended(*tasks)


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Return once all have ended, however they end; what one of them raised is dropped."""
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
