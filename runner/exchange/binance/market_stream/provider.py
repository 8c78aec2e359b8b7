"""BinanceWebSocketProvider: the newest bookTicker quote of every watched symbol, over as few connections as it takes."""

import asyncio
from collections.abc import Iterable
from typing import Any

from domain.symbols import Symbol
from runner.events import EventCallback
from runner.exchange.binance.market_stream.connection import FeedConnection
from runner.exchange.binance.market_stream.settings import FeedSettings
from runner.exchange.binance.market_stream.staleness import StalenessWatch
from runner.exchange.connection import FailedCallback, InterruptedCallback, QuoteCallback, StaleCallback
from runner.exchange.port import FeedCounters
from runner.ports import Clock
from runner.tasks import cancel_all


class BinanceWebSocketProvider:
    """Callbacks are called inline from the reading task and must not wait; nothing queues, the newest quote wins."""

    def __init__(
        self,
        clock: Clock,
        settings: FeedSettings,
        *,
        on_quote: QuoteCallback,
        on_stale: StaleCallback,
        on_interrupted: InterruptedCallback,
        on_event: EventCallback,
        on_failed: FailedCallback,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._callbacks: dict[str, Any] = {
            "on_quote": on_quote,
            "on_interrupted": on_interrupted,
            "on_event": on_event,
        }
        self._on_failed = on_failed
        self._connections: dict[FeedConnection, asyncio.Task[None]] = {}
        self._staleness = StalenessWatch(silence_seconds_max=settings.silence_seconds_max, on_change=on_stale)
        self._watchdog: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def symbols(self) -> frozenset[Symbol]:
        return frozenset(symbol for connection in self._connections for symbol in connection.symbols)

    async def watch_ticker(self, symbols: Iterable[Symbol]) -> None:
        """Watch these symbols too. Each is subscribed once, however often it is named; the others are not touched."""
        watched = self.symbols
        fresh = [symbol for symbol in dict.fromkeys(symbols) if symbol not in watched]
        for connection in list(self._connections):
            room, fresh = fresh[: connection.room], fresh[connection.room :]
            if room:
                await connection.add(room)
        while fresh:
            connection = FeedConnection(self._clock, self._settings, **self._callbacks)
            room, fresh = fresh[: connection.room], fresh[connection.room :]
            await connection.add(room)
            self._start(connection)
        if self._watchdog is None:
            self._watchdog = asyncio.create_task(self._watch(), name="feed-staleness")

    async def unwatch_ticker(self, symbols: Iterable[Symbol]) -> None:
        """Watch these no longer; a connection without a symbol is closed."""
        gone = frozenset(symbols)
        self._staleness.forget(gone)
        for connection, task in list(self._connections.items()):
            await connection.remove(gone & frozenset(connection.symbols))
            if not connection.symbols:
                del self._connections[connection]
                await cancel_all(task)

    async def close(self) -> None:
        """Close every socket. No callback is called afterwards."""
        self._closing = True
        await cancel_all(self._watchdog, *self._connections.values())
        self._connections.clear()

    @property
    def statistics(self) -> FeedCounters:
        connections = tuple(self._connections)
        refused: dict[str, int] = {}
        ignored: dict[str, int] = {}
        for connection in connections:
            for total, counts in ((refused, connection.protocol.refused), (ignored, connection.protocol.ignored)):
                for kind, count in counts.items():
                    total[kind] = total.get(kind, 0) + count
        return FeedCounters(
            connections=len(connections),
            connections_open=sum(connection.is_open for connection in connections),
            symbols=len(self.symbols),
            symbols_stale=len(self._staleness.stale),
            messages=sum(connection.messages for connection in connections),
            reconnects=sum(connection.reconnects for connection in connections),
            rollovers=sum(connection.rollovers for connection in connections),
            refused=refused,
            ignored=ignored,
        )

    def _start(self, connection: FeedConnection) -> None:
        task = asyncio.create_task(connection.run(), name="feed-connection")
        self._connections[connection] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._closing:
            self._on_failed(error)

    async def _watch(self) -> None:
        seconds = min(0.25, self._settings.silence_seconds_max / 4)
        while True:
            await self._clock.sleep(seconds)
            feeds = [feed for connection in self._connections for feed in connection.protocol.feeds]
            self._staleness.look(feeds, self._clock.monotonic_ns())
