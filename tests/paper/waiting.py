"""Wait for something to become true, with a generous bound instead of a guessed pause."""

import asyncio
import inspect
from collections.abc import Callable


async def eventually(probe: Callable[[], object], *, seconds_max: float = 20.0) -> None:
    """Ask again and again until the answer is truthy. Raises: TimeoutError."""
    async with asyncio.timeout(seconds_max):
        while True:
            answer = probe()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.01)
