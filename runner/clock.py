"""The real clock: the one place where the wall is read."""

import asyncio
import time


class SystemClock:
    """Satisfies `runner.ports.Clock`."""

    monotonic_ns = staticmethod(time.monotonic_ns)  # Read once a quote: a call of our own would cost as much again.

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
