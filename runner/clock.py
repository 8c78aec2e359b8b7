"""The real clock: the one place where the wall is read."""

import asyncio
import time


class SystemClock:
    """Satisfies `runner.ports.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
