"""The exchange's clock beside ours: measured regularly, at once when the exchange or the wall clock gives reason to doubt it."""

import asyncio

from domain.reasons import ClockCode, Reason, ReasonCode
from runner import events
from runner.exchange.errors import ExchangeError
from runner.exchange.port import ExchangeClock, TimeSource
from runner.execution.context import Context
from runner.execution.entry.gate import EntryGate

MEASURE_SECONDS = 300.0
LOOK_SECONDS = 1.0
JUMP_MS_MAX = 500
"""More than any slewing of a time daemon between two looks."""
AGE_SECONDS_MAX = 3_600.0
AFTER_FAILURE_SECONDS = 1.0


class ClockMonitor:
    """Keeps the exchange's clock true, and entries waiting while it cannot be."""

    def __init__(
        self,
        context: Context,
        *,
        exchange: TimeSource,
        exchange_clock: ExchangeClock,
        gate: EntryGate,
        skew_ms_max: int,
    ) -> None:
        self._exchange = exchange
        self._exchange_clock = exchange_clock
        self._clock, self._log = context.clock, context.log
        self._gate = gate
        self._skew_ms_max = skew_ms_max
        self._reported: ReasonCode | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._exchange.clock_is_off.wait()
            except TimeoutError:
                pass
            await self.look()

    async def look(self) -> None:
        """One look: measure when there is reason to, then say whether the clock is fit to trade by."""
        jumped_ms = self._exchange_clock.jumped_ms()
        age_seconds = self._exchange_clock.age_seconds()
        if self._exchange.clock_is_off.is_set():
            self._log.emit(events.TIMESTAMP_REFUSED, skew_ms=self._exchange_clock.skew_ms())
            await self._measure()
        elif abs(jumped_ms) > JUMP_MS_MAX:
            self._log.emit(events.CLOCK_JUMPED, jumped_ms=jumped_ms)
            await self._measure()
        elif age_seconds is None or age_seconds > MEASURE_SECONDS:
            await self._measure()
        self.judge()

    async def _measure(self) -> None:
        try:
            await self._exchange.synchronise_clock()
        except ExchangeError as error:
            self._log.emit(events.BACKGROUND_READ_FAILED, why=f"time: {type(error).__name__}: {error}"[:200])
            self.judge()
            await self._clock.sleep(max(AFTER_FAILURE_SECONDS, self._exchange.blocked_ms() / 1000))

    def judge(self) -> None:
        """Say whether entries must wait; logged when the reason becomes another one."""
        problem = self.problem()
        self._gate.clock_problem = problem
        code = None if problem is None else problem.code
        if code is not self._reported and problem is not None:
            self._log.emit(events.CLOCK_UNFIT, why=str(problem))
        self._reported = code

    def problem(self) -> Reason | None:
        """Why entries must wait, or None."""
        if self._exchange.clock_is_off.is_set():
            return ClockCode.REFUSED.because()
        age_seconds = self._exchange_clock.age_seconds()
        if age_seconds is None or age_seconds > AGE_SECONDS_MAX:
            return ClockCode.UNKNOWN.because()
        skew_ms = self._exchange_clock.skew_ms()
        if abs(skew_ms) > self._skew_ms_max:
            side = "ahead of" if skew_ms > 0 else "behind"
            return ClockCode.SKEWED.because(skew_ms=abs(skew_ms), side=side)
        return None
