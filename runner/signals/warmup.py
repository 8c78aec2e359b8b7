"""Windows from klines: at start, so that there is no hour of waiting, and again whenever a bar was missed.

`WindowMonitor` sleeps until a window is torn, asks for the closes of the torn legs only, and tries again with growing pauses
while the exchange cannot say.
"""

import asyncio
import math
from collections.abc import Mapping
from types import MappingProxyType

from domain.symbols import Symbol
from runner import events
from runner.events import EventCallback
from runner.exchange.errors import ExchangeError
from runner.exchange.port import KlineSource
from runner.ports import Clock
from runner.signals.bars import LegBars
from runner.signals.generator import SignalGenerator

KLINES_PER_REQUEST_MAX = 1000  # ccxt caps fetch_ohlcv there.
REQUESTS_AT_ONCE_MAX = 4
RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 60.0

INTERVALS: Mapping[int, str] = MappingProxyType(
    {
        60: "1m",
        180: "3m",
        300: "5m",
        900: "15m",
        1800: "30m",
        3600: "1h",
        7200: "2h",
        14400: "4h",
        21600: "6h",
        28800: "8h",
        43200: "12h",
        86400: "1d",
    }
)


async def load_closes(source: KlineSource, symbol: Symbol, *, bars: int, bar_seconds: int) -> list[tuple[int, float]]:
    """The last `bars` closed bars, oldest first; fewer for a young contract. Raises: ExchangeError.

    The newest row is always dropped: whether it is still open is a question of the exchange's market time, which in a replay has
    nothing to do with our clock.
    """
    interval = INTERVALS[bar_seconds]
    found: dict[int, float] = {}
    end_ms: int | None = None
    while len(found) < bars + 1:
        limit = min(KLINES_PER_REQUEST_MAX, bars + 1 - len(found))
        rows = await source.klines(symbol, interval=interval, limit=limit, end_ms=end_ms)
        older = {open_ms: close for open_ms, close in rows if open_ms not in found}
        found.update(older)
        if len(rows) < limit or not older:
            break
        end_ms = min(older) - 1
    newest_first = sorted(found, reverse=True)[1 : bars + 1]
    return [(open_ms, found[open_ms]) for open_ms in reversed(newest_first) if _is_price(found[open_ms])]


def _is_price(close: float) -> bool:
    return 0.0 < close < math.inf


class WindowMonitor:
    """Keeps a signal generator's windows whole."""

    def __init__(
        self,
        generator: SignalGenerator,
        source: KlineSource,
        *,
        clock: Clock,
        wanted: asyncio.Event,
        on_event: EventCallback,
    ) -> None:
        """`wanted` is set by the generator (its `on_torn`) whenever a window is torn."""
        self._calculator = generator.calculator
        self._source = source
        self._clock = clock
        self._on_event = on_event
        self._missing: list[str] = []  # Symbol and bar.
        self._wanted = wanted
        self._gate = asyncio.Semaphore(REQUESTS_AT_ONCE_MAX)
        self._wanted.set()

    async def warm_up(self) -> int:
        """One round over all torn windows. Return how many are still torn. Never raises for the exchange."""
        self._wanted.clear()
        torn = self._calculator.torn()
        if not torn:
            return 0
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fill(leg)) for leg in torn]
        missing = [_name_of(leg) for leg, task in zip(torn, tasks, strict=True) if not task.result()]
        if not missing or missing != self._missing:
            facts = {"symbols": len(torn), "incomplete": missing[:10]}
            self._on_event(events.WINDOWS_INCOMPLETE if missing else events.WINDOWS_LOADED, facts)
        self._missing = missing
        return len(missing)

    async def run(self) -> None:
        """Repair whenever it is wanted. Until cancelled."""
        pause_seconds = RETRY_SECONDS_MIN
        while True:
            await self._wanted.wait()
            if await self.warm_up() == 0:
                pause_seconds = RETRY_SECONDS_MIN
                continue
            # A young contract or an unreachable exchange: a bar more, or a minute later, may do.
            await self._clock.sleep(pause_seconds)
            pause_seconds = min(RETRY_SECONDS_MAX, pause_seconds * 2)
            self._wanted.set()

    async def _fill(self, leg: LegBars) -> bool:
        symbol, grid = leg.symbol, leg.grid
        async with self._gate:
            try:
                rows = await load_closes(self._source, symbol, bars=grid.size, bar_seconds=grid.bar_seconds)
            except ExchangeError as error:
                self._on_event(events.KLINES_UNAVAILABLE, {"symbol": symbol, "why": str(error)})
                return False
        return self._calculator.load(symbol, rows, bar_seconds=grid.bar_seconds)


def _name_of(leg: LegBars) -> str:
    return f"{leg.symbol} {INTERVALS[leg.grid.bar_seconds]}"


async def keep_sampling(generator: SignalGenerator, clock: Clock, *, every_seconds: float) -> None:
    """Record every pair's spread now and then. Until cancelled."""
    while True:
        await clock.sleep(every_seconds)
        generator.sample(clock.now_ms())
