"""Ending tasks: the exchange's own, as it knows the domain and nothing else of ours."""

import asyncio
from typing import Any


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel every task and return once all have ended, however they end; what one of them raised is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
