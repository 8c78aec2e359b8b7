"""The venue's clock beside ours: measured regularly, at once when the venue or the wall clock gives reason to doubt it."""

import asyncio

from domain.errors import ExchangeError
from runner.exchange.binance.exchange import BinanceExchange
from runner.exchange.binance.exchange_clock import VenueClock
from runner.execution.entry.gate import EntryGate
from runner.execution.orders.store import TradeStore

MEASURE_SECONDS = 300.0
LOOK_SECONDS = 1.0
JUMP_MS_MAX = 500
"""More than any slewing of a time daemon between two looks."""
AGE_SECONDS_MAX = 3_600.0
AFTER_FAILURE_SECONDS = 1.0


class ClockMonitor:
    """Keeps `VenueClock` true, and entries waiting while it cannot be."""

    def __init__(
        self,
        *,
        exchange: BinanceExchange,
        venue_clock: VenueClock,
        records: TradeStore,
        switches: EntryGate,
        skew_ms_max: int,
    ) -> None:
        self._exchange = exchange
        self._venue_clock = venue_clock
        self._records = records
        self._switches = switches
        self._skew_ms_max = skew_ms_max
        self._told: str | None = None

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
        jumped_ms = self._venue_clock.jumped_ms()
        age_seconds = self._venue_clock.age_seconds()
        if self._exchange.clock_is_off.is_set():
            self._records.log.warning("clock_is_off", skew_ms=self._venue_clock.skew_ms())
            await self._measure()
        elif abs(jumped_ms) > JUMP_MS_MAX:
            self._records.log.warning("clock_jumped", jumped_ms=jumped_ms)
            await self._measure()
        elif age_seconds is None or age_seconds > MEASURE_SECONDS:
            await self._measure()
        self._judge()

    async def _measure(self) -> None:
        try:
            await self._exchange.synchronise_clock()
        except ExchangeError as error:
            self._records.log.warning("background_read_failed", why=f"time: {type(error).__name__}: {error}"[:200])
            self._judge()
            await asyncio.sleep(max(AFTER_FAILURE_SECONDS, self._exchange.blocked_ms() / 1000))

    def _judge(self) -> None:
        problem = self.problem()
        self._switches.clock_problem = problem
        kind = None if problem is None else problem.split(":")[0]
        if kind != self._told and problem is not None:
            self._records.log.error("clock_unfit", why=problem)
        self._told = kind

    def problem(self) -> str | None:
        """Why entries must wait, or None."""
        if self._exchange.clock_is_off.is_set():
            return "refused: the exchange refused our timestamp and its clock has not been read since"
        age_seconds = self._venue_clock.age_seconds()
        if age_seconds is None or age_seconds > AGE_SECONDS_MAX:
            return "unknown: the exchange's clock could not be read for an hour"
        skew_ms = self._venue_clock.skew_ms()
        if abs(skew_ms) > self._skew_ms_max:
            side = "ahead of" if skew_ms > 0 else "behind"
            return f"skewed: this machine's clock is {abs(skew_ms)} ms {side} the exchange's; run NTP"
        return None
