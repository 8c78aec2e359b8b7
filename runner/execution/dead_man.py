"""The venue's dead-man switch: while an order of ours rests, the venue cancels it by itself when it no longer hears from us.

It is per symbol and cancels *every* open order there, a person's manual ones included (`docs/going-live.md`); `seconds` 0 leaves it
alone. Armed before anything rests, put off every third of its countdown, disarmed once nothing rests any more.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from domain.errors import ExchangeError
from domain.symbols import Symbol
from runner.execution.records import Log
from runner.ports import Exchange

RETRY_SECONDS = 1.0
MARGIN_SECONDS = 1.0
"""So long before the countdown ends, it counts as ended: nothing may be placed under it any more."""


class DeadManUnarmed(Exception):
    """The venue did not confirm it, so nothing may rest."""


class Watch:
    """One armed symbol."""

    def __init__(self) -> None:
        self.ends_at = float("inf")  # Monotonic seconds of the loop.

    @property
    def lapsed(self) -> bool:
        """True when the countdown may have run out at the venue."""
        return asyncio.get_running_loop().time() > self.ends_at - MARGIN_SECONDS


class DeadMan:
    """Arms, puts off and disarms."""

    def __init__(self, exchange: Exchange, log: Log, seconds: float) -> None:
        self._exchange = exchange
        self._log = log
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def watching(self, symbol: Symbol) -> AsyncIterator[Watch]:
        """Armed for as long as the block runs. Raises: DeadManUnarmed before it, and then nothing may be placed.

        Leave the block in peace only when nothing rests any more: it disarms. When it is left by an exception the countdown
        runs on, and the venue takes away what may still rest.
        """
        watch = Watch()
        if self._seconds == 0:
            yield watch
            return
        try:
            await self._arm(symbol, watch)
        except ExchangeError as failure:
            self._log.warning("dead_man_unarmed", symbol=symbol, why=str(failure))
            raise DeadManUnarmed(str(failure)) from None
        keeper = asyncio.create_task(self._keep(symbol, watch), name=f"dead-man-{symbol}")
        try:
            yield watch
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        await self.disarm(symbol)

    async def disarm(self, symbol: Symbol) -> None:
        """A countdown that cannot be stopped runs out: harmless to us, so it is said and left."""
        if self._seconds == 0:
            return
        try:
            await self._exchange.arm_dead_man(symbol, 0)
        except ExchangeError as failure:
            self._log.warning("dead_man_not_disarmed", symbol=symbol, why=str(failure))

    async def _arm(self, symbol: Symbol, watch: Watch) -> None:
        asked_at = asyncio.get_running_loop().time()  # The countdown starts no earlier than this.
        await self._exchange.arm_dead_man(symbol, round(self._seconds * 1000))
        watch.ends_at = asked_at + self._seconds

    async def _keep(self, symbol: Symbol, watch: Watch) -> None:
        pause = self._seconds / 3
        while True:
            await asyncio.sleep(pause)
            pause = self._seconds / 3
            if self._exchange.blocked_ms() > 0:
                pause = RETRY_SECONDS
                continue
            try:
                await self._arm(symbol, watch)
            except ExchangeError as failure:
                self._log.warning("dead_man_not_put_off", symbol=symbol, why=str(failure))
                pause = RETRY_SECONDS
