"""The exchange's dead-man switch: while an order of ours rests, the exchange cancels it by itself when it no longer hears from us.

It is per symbol and cancels *every* open order there, a person's manual ones included (`docs/going-live.md`); `seconds` 0 leaves it
alone. Armed before anything rests, put off every third of its countdown, disarmed once nothing rests any more.
"""

import asyncio
import math
from typing import Self

from domain.symbols import Symbol
from runner import events
from runner.exchange.errors import ExchangeError
from runner.exchange.port import Exchange
from runner.execution.context import Context
from runner.tasks import cancel_all

RETRY_SECONDS = 1.0
MARGIN_SECONDS = 1.0
"""So long before the countdown ends, it counts as ended: nothing may be placed under it any more."""


class DeadManSwitchNotArmed(Exception):
    """The exchange did not confirm it, so nothing may rest."""


class DeadManSwitch:
    """Arms and disarms."""

    def __init__(self, context: Context, exchange: Exchange, seconds: float) -> None:
        self._context = context
        self._log = context.log
        self._exchange = exchange
        self._seconds = seconds

    def watching(self, symbol: Symbol) -> "Watch":
        """A block for as long as something may rest in the symbol."""
        return Watch(self._context, self, self._exchange, symbol, self._seconds)

    async def disarm(self, symbol: Symbol) -> None:
        """A countdown that cannot be stopped runs out: harmless to us, so it is said and left."""
        if self._seconds == 0:
            return
        try:
            await self._exchange.arm_dead_man(symbol, 0)
        except ExchangeError as failure:
            self._log.emit(events.DEAD_MAN_DISARMING_FAILED, symbol=symbol, why=str(failure))


class Watch:
    """One symbol, armed for as long as the block runs. Raises: DeadManSwitchNotArmed before it, and then nothing may be placed.

    Leave the block in peace only when nothing rests any more: it disarms. When it is left by an exception the countdown runs on,
    and the exchange takes away what may still rest.
    """

    def __init__(
        self, context: Context, dead_man: DeadManSwitch, exchange: Exchange, symbol: Symbol, seconds: float
    ) -> None:
        self._clock, self._log = context.clock, context.log
        self._dead_man_switch = dead_man
        self._exchange = exchange
        self._symbol = symbol
        self._seconds = seconds
        self._ends_at = math.inf  # Seconds of the monotonic clock.
        self._keeper: asyncio.Task[None] | None = None

    @property
    def lapsed(self) -> bool:
        """True when the countdown may have run out at the exchange."""
        return self._seconds_now() > self._ends_at - MARGIN_SECONDS

    async def __aenter__(self) -> Self:
        if self._seconds == 0:
            return self
        try:
            await self._arm()
        except ExchangeError as failure:
            self._log.emit(events.DEAD_MAN_ARMING_FAILED, symbol=self._symbol, why=str(failure))
            raise DeadManSwitchNotArmed(str(failure)) from None
        self._keeper = asyncio.create_task(self._keep(), name=f"dead-man-{self._symbol}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: object) -> None:
        await cancel_all(self._keeper)
        if kind is None:
            await self._dead_man_switch.disarm(self._symbol)

    def _seconds_now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    async def _arm(self) -> None:
        asked_at = self._seconds_now()  # The countdown starts no earlier than this.
        await self._exchange.arm_dead_man(self._symbol, round(self._seconds * 1000))
        self._ends_at = asked_at + self._seconds

    async def _keep(self) -> None:
        pause = self._seconds / 3
        while True:
            await self._clock.sleep(pause)
            pause = self._seconds / 3
            if self._exchange.blocked_ms() > 0:
                pause = RETRY_SECONDS
                continue
            try:
                await self._arm()
            except ExchangeError as failure:
                self._log.emit(events.DEAD_MAN_RENEWAL_FAILED, symbol=self._symbol, why=str(failure))
                pause = RETRY_SECONDS
